"""How addresses of servers are shown to people."""

from urllib.parse import urlsplit


def without_password(url: str) -> str:
    """The address as it may be shown to people and written to logs."""
    shown = []
    for one in url.split(","):
        parts = urlsplit(one)
        host = parts.hostname or ""
        shown.append(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl())
    return ",".join(shown)
