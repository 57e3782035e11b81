"""The schema of the task service's database, as steps that each run once."""
