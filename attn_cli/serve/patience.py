"""Connections that end where their clients are too slow: nobody else has to wait for them."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


class PatientProtocol(H11Protocol):
    """A connection that waits no longer than `seconds` for a request, or for its client to read."""

    seconds: ClassVar[float]

    _timer: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait."""
        super().connection_made(transport)
        if self.limit_concurrency and len(self.connections) > 2 * self.limit_concurrency:
            transport.abort()  # so many that not even a refusal is for free
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Reads on."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        super().connection_lost(exc)
        self._unwatch()
        self._unstick()

    def pause_writing(self) -> None:
        """Waits for the client to read."""
        super().pause_writing()
        self._unstick()
        self._stuck = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads."""
        super().resume_writing()
        self._unstick()

    def _watch(self) -> None:
        """Lets time run while a request's head is awaited."""
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.seconds, self._give_up)
        elif not waits:
            self._unwatch()

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
        self._stuck = None

    def _give_up(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


def patient(seconds: float) -> type[PatientProtocol]:
    """The kind of connection that waits so long."""
    return type("PatientFor", (PatientProtocol,), {"seconds": seconds})
