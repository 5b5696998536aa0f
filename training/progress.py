"""How far a run has come, where its time went, and what makes it stop before its end."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_type_hints

from dnnlib import UserError
from dnnlib.typed import fits, type_name

_ONE_SIGNAL_SECONDS = 0.5


@dataclass
class Progress:
    """Counters of a run.

    Attributes:
        nimg: real images shown so far; tick: reports so far; tick_nimg: `nimg` at the last report.
        elapsed: seconds in all sessions; tick_elapsed: those at the last report.
        maintenance: seconds since then, or in it, that were not spent on steps.
        processor: processor seconds of this process spent on steps, all threads; tick_processor: at the last report.
        best: metric name, value, nimg and file of the best snapshot.
        snapshots: file, nimg and value of those that are kept.
    """

    nimg: int = 0
    tick: int = 0
    tick_nimg: int = 0
    elapsed: float = 0.0
    tick_elapsed: float = 0.0
    maintenance: float = 0.0
    processor: float = 0.0
    tick_processor: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    snapshots: list[dict[str, Any]] = field(default_factory=list)

    def tick_seconds(self) -> dict[str, float]:
        """Seconds since the last report in all and for 1000 images, both without maintenance; of that; the processor's.

        The maintenance in a report counts to the next one.
        """
        seconds = self.elapsed - self.tick_elapsed - self.maintenance
        kimg = (self.nimg - self.tick_nimg) / 1e3
        return {
            "sec_per_tick": seconds,
            "sec_per_kimg": seconds / kimg,
            "maintenance_sec": self.maintenance,
            "processor_sec_per_tick": self.processor - self.tick_processor,
        }

    def end_tick(self) -> None:
        """Begin the next interval between two reports."""
        self.tick += 1
        self.tick_nimg, self.tick_elapsed, self.maintenance = self.nimg, self.elapsed, 0.0
        self.tick_processor = self.processor

    def state_dict(self) -> dict[str, Any]:
        """All counters."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave.

        Raises:
            UserError: these are no counters of a run.
        """
        for entry in fields(self):
            hint = _TYPES[entry.name]
            if entry.name in state and not fits(state[entry.name], hint):
                raise UserError(f"the checkpoint is damaged: its progress.{entry.name} should be {type_name(hint)}")
            setattr(self, entry.name, state.get(entry.name, getattr(self, entry.name)))
        for entry in self.snapshots:
            if not fits(entry.get("nimg"), int) or not fits(entry.get("value"), float | None):
                raise UserError("the checkpoint is damaged: its progress.snapshots are not what a run writes")


_TYPES = get_type_hints(Progress)


class Clock:
    """Counts the time of a session into the progress of its run."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last, self._processor = time.monotonic(), time.process_time()

    def lap(self, stepping: bool = True) -> float:
        """Count the time since the last call, and return it in seconds; the processor's only if it went into steps."""
        now, processor = time.monotonic(), time.process_time()
        seconds, self._last = now - self._last, now
        self._progress.elapsed += seconds
        self._progress.processor += (processor - self._processor) if stepping else 0.0
        self._processor = processor
        return seconds

    @contextlib.contextmanager
    def maintenance(self) -> Iterator[None]:
        """In this block no step is made."""
        self.lap()
        yield
        self._progress.maintenance += self.lap(stepping=False)


class StopRequest:
    """Turns SIGINT, SIGTERM, SIGUSR1, SIGHUP, Windows' SIGBREAK and a time limit into a question that the loop asks.

    The first signal lets the current step end, so that the state can be saved; a second one ends the
    process at once. Signals within half a second count as one, as a terminal and a launcher may both deliver
    the same. Use it as a context manager in the main thread.

    Args:
        max_hours: the time limit.
        tell: say on stderr at the first signal what comes now, as a step or a metric may take minutes.
    """

    NAMES = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGUSR1", "SIGHUP")  # no system has them all
    SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))

    def __init__(self, max_hours: float | None = None, *, tell: bool = False) -> None:
        self._deadline = None if max_hours is None else time.monotonic() + max_hours * 3600
        self.reason = ""
        self._tell = tell
        self._received_at: float | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                # nohup and disown ignore the end of the connection: the run is to go on.
                if number.name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: Any) -> None:
        now = time.monotonic()
        if self._received_at is None:
            self._received_at = now
            if self._tell:
                self._say_what_comes(signal.Signals(number).name)
        elif now - self._received_at > _ONE_SIGNAL_SECONDS:
            os._exit(128 + number)
        self.reason = f"received {signal.Signals(number).name}"

    @staticmethod
    def _say_what_comes(name: str) -> None:
        line = f"\n{name}: ending after the step or metric in progress, and saving; a second signal ends at once\n"
        with contextlib.suppress(OSError):  # a terminal that has gone is why it may be asked to stop
            os.write(2, line.encode())  # sys.stderr may be in the middle of a line, and must not be entered twice

    @property
    def is_set(self) -> bool:
        """Whether to save and stop."""
        if not self.reason and self._deadline is not None and time.monotonic() > self._deadline:
            self.reason = "`max_hours` reached"
        return bool(self.reason)
