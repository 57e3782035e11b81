"""The life of a process: start, readiness, failure, stop."""
