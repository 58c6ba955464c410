"""Loopback ports for the parts of the embedded stack."""

import socket
import time

from deploy.embedded.errors import EmbeddedError

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that nobody listens on, chosen by the operating system."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until_free(port: int, seconds: int) -> bool:
    """Whether the port became free within so many seconds, for one whose owner is just ending."""
    until = time.monotonic() + seconds
    while not is_free(port) and time.monotonic() < until:
        time.sleep(0.05)
    return is_free(port)


def choose(name: str, fixed: int | None, wishes: tuple[int, ...]) -> int:
    """The port for part `name`: the one that the caller fixed, else the first free one of `wishes`, else any free one.

    Raises EmbeddedError when a fixed port is taken.
    """
    if fixed is not None:
        require_free(name, fixed)
        return fixed
    return next((port for port in wishes if is_free(port)), 0) or free_port()


def require_free(name: str, port: int) -> None:
    """Raises EmbeddedError when another program listens on the port that part `name` was told to use."""
    if not is_free(port):
        raise EmbeddedError(
            f"port {port} for {name} is taken by another program: stop that program, or choose another port for {name}"
        )
