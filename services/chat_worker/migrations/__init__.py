"""The schema of the chat worker's database, as steps that each run once."""
