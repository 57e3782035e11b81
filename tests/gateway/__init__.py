"""The gateway: alone with a bus, and with clients that misbehave."""
