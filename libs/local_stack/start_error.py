"""Why the stack cannot start."""


class StartError(Exception):
    """One clear sentence for the person who typed the command; no traceback is shown."""
