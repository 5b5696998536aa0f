"""How long named parts of a program take on their device, without waiting for it."""

import contextlib
import time
from collections.abc import Iterator

import torch


class Stopwatch:
    """Accumulates seconds by name; on CUDA from events, which are read only in `means`."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._times: dict[str, list] = {}

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure the block."""
        start = self._mark()
        yield
        self._times.setdefault(name, []).append((start, self._mark()))

    def means(self) -> dict[str, float]:
        """Mean seconds per block since the last call, by name."""
        if self._cuda and self._times:
            torch.cuda.synchronize()
        result = {name: sum(self._seconds(*pair) for pair in pairs) / len(pairs) for name, pairs in self._times.items()}
        self._times = {}
        return result

    def _mark(self) -> float | torch.cuda.Event:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _seconds(self, start: float | torch.cuda.Event, end: float | torch.cuda.Event) -> float:
        return start.elapsed_time(end) / 1000 if self._cuda else end - start


def format_time(seconds: float) -> str:
    """`59s`, `1m 02s`, `1h 02m 03s` or `1d 02h 03m`."""
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m {total % 60:02d}s"
    if total < 86400:
        return f"{total // 3600}h {total // 60 % 60:02d}m {total % 60:02d}s"
    return f"{total // 86400}d {total // 3600 % 24:02d}h {total // 60 % 60:02d}m"
