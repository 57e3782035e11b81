"""The task service: keeps tasks and their subtasks, and tells every change of one at once."""
