"""What is counted of requests and batches, as Prometheus reads it."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LINES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Histogram:
    """How often a value was at most each of some bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str) -> list[str]:
        """As text; `labels` as `a="b"`."""
        below, found = 0, []
        for bound, count in zip((*map(repr, self._bounds), "+Inf"), self._counts, strict=True):
            below += count
            found.append(f'{name}_bucket{{{labels},le="{bound}"}} {below}')
        return [*found, f"{name}_sum{{{labels}}} {self._sum}", f"{name}_count{{{labels}}} {below}"]


class Meter:
    """Counts what the server does; of use to several threads at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = defaultdict(int)
        self._seconds: dict[str, Histogram] = defaultdict(lambda: Histogram(_SECONDS))
        self._batches: dict[str, Histogram] = defaultdict(lambda: Histogram(_LINES))
        self._waiting: dict[str, Callable[[], int]] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts a request."""
        with self._lock:
            self._requests[route, status] += 1
            self._seconds[route].add(seconds)

    def batch(self, model: str, size: int) -> None:
        """Counts lines that a model answered together."""
        with self._lock:
            self._batches[model].add(size)

    def watch(self, model: str, waiting: Callable[[], int]) -> None:
        """Asks for the lines that wait for a model whenever somebody wants to know."""
        self._waiting[model] = waiting

    def text(self) -> str:
        """All of it, in Prometheus's text format."""
        with self._lock:
            found = ["# HELP attn_requests_total Requests by route and status."]
            found += ["# TYPE attn_requests_total counter"]
            for (route, status), count in sorted(self._requests.items()):
                found.append(
                    f'attn_requests_total{{route="{_safe(route)}",status="{status}"}} {count}'
                )
            found += ["# HELP attn_request_seconds From the first byte to the answer's end."]
            found += ["# TYPE attn_request_seconds histogram"]
            for route, times in sorted(self._seconds.items()):
                found += times.lines("attn_request_seconds", f'route="{_safe(route)}"')
            found += ["# HELP attn_batch_lines Lines that a model answered together."]
            found += ["# TYPE attn_batch_lines histogram"]
            for model, sizes in sorted(self._batches.items()):
                found += sizes.lines("attn_batch_lines", f'model="{_safe(model)}"')
        found += ["# HELP attn_queue_lines Lines that wait for a model."]
        found += ["# TYPE attn_queue_lines gauge"]
        for model, waiting in sorted(self._waiting.items()):
            found.append(f'attn_queue_lines{{model="{_safe(model)}"}} {waiting()}')
        return "\n".join(found) + "\n"


def _safe(value: str) -> str:
    """A label's value, escaped as the format says."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
