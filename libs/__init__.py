"""Code that more than one process uses."""
