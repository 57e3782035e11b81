"""Which ports are free, and who has one that is not."""

import random
import socket

import psutil

from libs.local_stack.start_error import StartError

# Below the ports that systems give to outgoing connections (from 32768 on Linux, 49152 on macOS): a client that
# retries while its server restarts could otherwise be given that very port and connect to itself.
INTERNAL_PORTS = range(20_000, 32_000)
TRIES = 200


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that ended a moment ago do not keep a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int, *, but: range = range(0)) -> list[int]:
    """`count` different ports on the loopback interface that nobody listens on, none of `but`.

    Raises StartError if there are none.
    """
    ports: list[int] = []
    for port in random.sample(INTERNAL_PORTS, TRIES):
        if len(ports) == count:
            break
        if port not in but and is_free("127.0.0.1", port):
            ports.append(port)
    if len(ports) < count:
        raise StartError(f"No {count} ports are free between {INTERNAL_PORTS.start} and {INTERNAL_PORTS.stop}.")
    return ports


def check_free(host: str, port: int) -> None:
    """Raise StartError, naming the program to blame where the system tells, when `port` is taken."""
    if is_free(host, port):
        return
    raise StartError(f"Port {port} is taken{owner(port)}: stop that program, or choose another port with --port.")


def owner(port: int) -> str:
    """` by <program> (pid <pid>)`, or nothing where the system keeps that to itself (macOS, other users' programs)."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid is not None:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""
