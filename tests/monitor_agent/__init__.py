"""The monitor agent: what it reads, when, and what becomes of it."""
