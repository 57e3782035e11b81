"""What must be true of the whole repository, and of each of its parts."""
