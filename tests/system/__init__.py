"""The whole system, started by the launcher as a user would, with the scripted model server behind it."""
