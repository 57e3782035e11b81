"""The chaos suite: the real processes under load while a seeded schedule kills, freezes, restarts and cuts them."""
