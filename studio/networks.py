"""The networks of a studio: files, and the snapshots of runs, loaded when they are shown."""

import functools
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dnnlib import UserError
from generation.edits import Editor
from training.networks import Generator
from training.run_dir import SNAPSHOTS, RunDir
from training.snapshot import Snapshot

KEPT = 6  # networks in memory
MOST_NAMES = 1000  # of classes that the page is told


@dataclass(frozen=True, eq=False)
class Network:
    """A network that can be drawn.

    Attributes:
        key: `A`, or `A@24` for a snapshot of a run.
        location: its file or address; hash: of the file.
        G: on its device.
        class_names: by index, where it has them.
        editor: of its directions.
    """

    key: str
    location: str
    hash: str
    G: Generator
    class_names: list[str] | None
    editor: Editor

    def describe(self) -> dict[str, Any]:
        """What a page needs to know of it, as JSON."""
        G = self.G
        height, width = G.config.img_size
        return {
            "key": self.key, "file": Path(self.location).name, "hash": self.hash, "height": height, "width": width,
            "channels": G.img_channels, "layers": G.num_ws, "z_dim": G.z_dim, "w_dim": G.w_dim, "classes": G.c_dim,
            "class_names": (self.class_names or [])[:MOST_NAMES], "kimg": kimg_of(self.key),
        }  # fmt: skip


@dataclass
class _Source:
    """A file, or a run with its snapshots by thousands of images."""

    title: str
    location: str = ""
    run: RunDir | None = None
    snapshots: dict[int, Path] = field(default_factory=dict)


class Catalogue:
    """What can be shown, each under a letter.

    Args:
        networks: files or addresses.
        runs: run directories, or folders of them, of which the newest counts.
        device: where the networks go.
        load: of a file or an address, its networks.

    Raises:
        UserError: nothing is given, too much, or something that is no run.
    """

    def __init__(
        self, networks: Sequence[str], runs: Sequence[Path], device: torch.device, load: Callable[[str], Snapshot]
    ) -> None:
        self._device, self._load = device, load
        sources = [_Source(Path(name).name, location=name) for name in networks]
        sources += [_Source(run.path.name, run=run) for run in map(_find_run, runs)]
        if not sources:
            raise UserError("give a `network` or a `run` to look at")
        if len(sources) > len(string.ascii_uppercase):
            raise UserError(
                f"{len(sources)} networks and runs are too many; give {len(string.ascii_uppercase)} or fewer"
            )
        self._sources = dict(zip(string.ascii_uppercase, sources, strict=False))
        self._loaded = functools.lru_cache(maxsize=KEPT)(self._load_file)
        self.refresh()

    def refresh(self) -> bool:
        """Look for snapshots in the runs again; whether there are others than before."""
        changed = False
        for source in self._sources.values():
            if source.run is not None:
                found = {nimg // 1000: path for nimg, path in SNAPSHOTS.find(source.run.path).items()}
                changed |= found != source.snapshots
                source.snapshots = found
        return changed

    def describe(self) -> list[dict[str, Any]]:
        """Letters, titles, snapshots and the runs' states, as JSON."""
        return [
            {
                "key": key, "title": source.title, "snapshots": list(source.snapshots),
                "run": None if source.run is None else source.run.state.value,
            }
            for key, source in self._sources.items()
        ]  # fmt: skip

    def curves(self) -> list[dict[str, Any]]:
        """What the runs' metrics were, as JSON: for each run and number the points [kimg, value].

        Raises:
            UserError: the results of a run are damaged.
        """
        found = []
        for key, source in self._sources.items():
            for metric in source.run.metrics() if source.run is not None else []:
                points: dict[str, list[list[float]]] = {}
                for record in source.run.metric(metric):
                    for name, value in (record.get("results") or {}).items():
                        if isinstance(value, int | float) and isinstance(record.get("nimg"), int):
                            points.setdefault(name, []).append([record["nimg"] / 1000, value])
                found += [{"key": key, "metric": name, "points": sorted(some)} for name, some in points.items()]
        return found

    def load(self, key: str) -> Network:
        """The network under `A` or `A@24`.

        Raises:
            UserError: there is none, or its file cannot be loaded.
        """
        match = re.fullmatch(r"([A-Z])(?:@(\d{1,9}))?", key)
        source = self._sources.get(match[1]) if match else None
        if source is None:
            raise UserError(f"there is no network {key!r} here; choose one of {', '.join(self._sources)}")
        if source.run is None:
            return self._loaded(match[1], source.location)
        if not source.snapshots:
            raise UserError(f"{source.title} has no snapshot yet; the first appears here when it is written")
        kimg = int(match[2]) if match[2] else max(source.snapshots)
        if kimg not in source.snapshots:
            raise UserError(f"{source.title} has no snapshot after {kimg} kimg; it has {_some(list(source.snapshots))}")
        path = source.snapshots[kimg]
        return self._loaded(f"{match[1]}@{kimg}", str(path), _written(path))

    def _load_file(self, key: str, location: str, written: int = 0) -> Network:
        """Load it; `written` makes a snapshot that was written again another one."""
        snapshot = self._load(location)
        G = snapshot.generator.to(self._device)
        return Network(key, location, snapshot.hash, G, snapshot.metadata.get("class_names"), Editor(G))


def kimg_of(key: str) -> int | None:
    """The thousands of images in `A@24`; None for a file."""
    return int(key.partition("@")[2]) if "@" in key else None


def _written(path: Path) -> int:
    """When, in nanoseconds; 0 for what has just gone, of which the reader will tell."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _find_run(path: Path) -> RunDir:
    run = RunDir(path)
    if run.has_begun:
        return run
    inside = sorted(folder for folder in path.glob("*/") if RunDir(folder).has_begun)
    if not inside:
        raise UserError(f"`run`={path} is no run directory, nor a folder of them; name one as train.py printed it")
    return RunDir(inside[-1])


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:3])) + (f", ... {numbers[-1]}" if len(numbers) > 3 else "")
