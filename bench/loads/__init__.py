"""What a peer is given to do, and what is read from it."""
