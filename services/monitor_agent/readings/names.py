"""Names that other programs, users and devices have chosen, made fit to be shown."""


def printable(name: str) -> str:
    """The name without bytes that are no text: they would fit into no JSON."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
