"""The server around the application: its socket, its patience, and how it stops."""

from __future__ import annotations

import contextlib
import math
import signal
import socket
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from attn_cli.config.serving import LimitOptions, PlaceOptions
from attn_cli.errors import AttnError
from attn_cli.serve.patience import patient

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_BACKLOG = 2048
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OTHER_FILES = 64  # that a process has open beside its connections


def bind(place: PlaceOptions) -> socket.socket:
    """A socket at the place, to which nobody can come as yet.

    Raises:
        AttnError: it can't be had.
    """
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((place.host, place.port))
    except (OSError, UnicodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise AttnError(
            f"{place.host}:{place.port}: {cause}; --port names another port (0: a free one), "
            "--host another address"
        ) from error
    return found


def address_of(bound: socket.socket) -> str:
    """The address of a socket, as a browser takes it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def begin(bound: socket.socket) -> None:
    """Lets clients come: they wait until `run` takes them in."""
    bound.listen(_BACKLOG)


def run(app: ASGIApp, bound: socket.socket, limits: LimitOptions) -> int:
    """Answers until a signal asks to stop, then finishes what is in flight.

    Args:
        app: the application.
        bound: where requests come in.
        limits: of connections and time.

    Returns:
        The number of the signal.
    """
    _allow_files(limits.max_connections)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=patient(limits.timeout),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.max_connections + 1,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=math.ceil(limits.timeout) + 1,
    )
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    # Uvicorn raises a signal that stopped it once more, for who was there before: that is `note`.
    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return caught[0] if caught else 0


def _allow_files(connections: int) -> None:
    """Asks the system for as many open files as there may be connections."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * connections + _OTHER_FILES
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
