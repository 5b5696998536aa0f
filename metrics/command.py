"""What `calc_metrics.py` does: find networks and data, compute, print, and add to the run directory's files."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from tqdm import tqdm

from dnnlib import UserError, json_text, renamed
from metrics.detectors.detector import DetectorUnavailable
from metrics.evaluation import compare, compute
from metrics.names import check_name, higher_is_better, parse_metric
from metrics.results import Result, append_record
from metrics.settings import ShowProgress
from torch_utils.distributed import World
from training.dataset import ImageDataset
from training.dataset.labels import MissingLabels
from training.run_dir import SNAPSHOTS, RunDir
from training.snapshot import Snapshot, load_snapshot

DEFAULT_METRIC = "fid50k_full"
WITHOUT_DETECTOR = "swd"


@dataclass(frozen=True)
class Request:
    """The options of the command line; see its help. `world`: this process among those that carry it out."""

    networks: tuple[str, ...] = ()
    run_dir: str | None = None
    which: str = "all"
    real: str | None = None
    fake: str | None = None
    names: tuple[str, ...] = ()
    data: str | None = None
    mirror: bool | None = None
    seed: int = 0
    bootstrap: int = 0
    detector: str | None = None
    detector_sha256: str | None = None
    offline: bool = False
    network_sha256: str | None = None
    batch_size: int = 64
    progress: bool = True
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        for name in self.names:
            check_name(name)
        sources = [bool(self.networks), self.run_dir is not None, self.real is not None or self.fake is not None]
        if sum(sources) != 1:
            raise UserError("give one of `networks`=FILE, `run_dir`=DIR, or `real`=PATH with `fake`=PATH")
        if (self.real is None) != (self.fake is None):
            raise UserError("`real` and `fake` belong together: give both")
        if self.real is not None and self.data is not None:
            raise UserError("`data` belongs to `networks` and `run_dir`; the real images of `fake` come from `real`")
        if self.network_sha256 is not None and len(self.networks) != 1:
            raise UserError("`network_sha256` is that of one file; give one `networks`=FILE with it")
        if self.which != "all" and self.run_dir is None:
            raise UserError(f"`{self.which}` chooses among the snapshots of a run; give `run_dir`=DIR")


def evaluate(request: Request, device: torch.device) -> None:
    """Compute what is asked for; the main process prints a JSON line per result and appends to the run's files.

    Raises:
        UserError: on all processes, as they find the same mistakes or tell each other of theirs.
    """
    try:
        if request.real is not None:
            _evaluate_folders(request, device)
        else:
            _evaluate_networks(request, device)
    except UserError as error:
        error.everywhere = True
        raise


def _evaluate_folders(request: Request, device: torch.device) -> None:
    def opened() -> tuple[ImageDataset, ImageDataset]:
        return _open("real", request.real, xflip=bool(request.mirror)), _open("fake", request.fake)

    real, fake = request.world.together(opened)
    if real.image_shape != fake.image_shape:
        raise UserError(
            f"`real` has images of shape {real.image_shape}, `fake` of {fake.image_shape} (channels, height, "
            "width); make them equal with dataset_tool.py"
        )
    for result in _run(request, compare, device, real=real, fake=fake):
        _publish(result.record(), None, request.world)


def _evaluate_networks(request: Request, device: torch.device) -> None:
    files = snapshots_of(request.run_dir, request.which, request.names) if request.run_dir else request.networks
    for file in files:

        def opened(file: str | Path = file) -> tuple[Snapshot, ImageDataset | None]:
            snapshot = load_snapshot(file, sha256=request.network_sha256, offline=request.offline)
            return snapshot, training_set(snapshot, request)

        snapshot, dataset = request.world.together(opened)
        folder = Path(file).resolve().parent if "://" not in str(file) else None
        in_run = folder is not None and RunDir(folder).has_begun
        shown = Path(file).name if in_run else str(file)
        for result in _run(request, compute, device, G=snapshot.generator, dataset=dataset):
            record = result.record(snapshot=shown)
            record["computed_from"] = {**record["computed_from"], "network_hash": snapshot.hash}
            record["source"] = "calc_metrics"
            if "cur_nimg" in snapshot.metadata:
                record["nimg"] = snapshot.metadata["cur_nimg"]
            _publish(record, folder if in_run else None, request.world)


def snapshots_of(run_dir: str, which: str, names: tuple[str, ...]) -> list[Path]:
    """The snapshots of a run directory, oldest first; `which` is "all", "last" or "best".

    The best is the one with the best value in `metric-<name>.jsonl`, of the first metric asked for that has
    values, else of any that has.

    Raises:
        UserError: no such folder, no snapshots, or no values to choose the best by.
    """
    folder = Path(run_dir)
    if not folder.is_dir():
        raise UserError(f"`run_dir`={run_dir}: there is no such folder")
    snapshots = list(SNAPSHOTS.find(folder).values())
    if not snapshots:
        raise UserError(f"`run_dir`={run_dir}: the folder has no network-snapshot-* files")
    if which == "last":
        return snapshots[-1:]
    return [_best(folder, snapshots, names)] if which == "best" else snapshots


def _best(folder: Path, snapshots: list[Path], names: tuple[str, ...]) -> Path:
    recorded = RunDir(folder).metrics()
    by_name = {path.name: path for path in snapshots}
    for name in [*(n for n in names if n in recorded), *sorted(recorded, key=_preference)]:
        values = {}
        for record in RunDir(folder).metric(name):
            numbers = list((record.get("results") or {}).values())
            if numbers and record.get("snapshot_pkl") in by_name:
                values[record["snapshot_pkl"]] = numbers[0]
        if values:
            choose = max if higher_is_better(name) else min
            return by_name[choose(values, key=values.__getitem__)]
    raise UserError(f"`best`: {folder} has no values in metric-*.jsonl yet; compute some with `run_dir`={folder} first")


def _preference(name: str) -> tuple[int, str]:
    """Distances before fractions, FID before all."""
    return (0 if name.startswith("fid") else 2 if higher_is_better(name) else 1, name)


def training_set(snapshot: Snapshot, request: Request) -> ImageDataset | None:
    """The data that a network was trained on, as training saw it; `--data` and `--mirror` take precedence.

    None if no data is known or none is needed: metrics without real images, of an unconditional network. Of `--data`
    with other content the whole is taken, whatever subset the network was trained on.

    Raises:
        UserError: the data is not where it was at training, and no `--data`.
    """
    known: dict[str, Any] = snapshot.metadata.get("training_set") or {}
    path = request.data if request.data is not None else known.get("path")
    generator = snapshot.generator
    names = request.names or (DEFAULT_METRIC,)
    needs_data = generator.c_dim > 0 or any(parse_metric(name).real_set is not None for name in names)
    if request.data is None and not needs_data:
        return None
    if path is None and "content_hash" not in known:
        return None  # the metrics will ask for --data
    if path is not None and not str(path).startswith("builtin:") and not Path(path).exists():
        if request.data is not None:
            raise UserError(f"`data`: there is no file or folder {path}; check the path")
        raise UserError(f"there is no data at {path}, where the network was trained on; give `data`")
    dataset = _selected(path, known, request, generator)
    if dataset.num_channels != generator.img_channels:
        raise UserError(
            f"the network makes images of {generator.img_channels} channels, {path} has {dataset.num_channels}; "
            "give the data it was trained on with `data`"
        )
    as_trained = request.data is None and request.mirror is None
    if as_trained and known.get("content_hash") not in (None, dataset.content_hash()):
        _note(request, f"the images at {path} are not those of the training any more")
    return dataset


def _selected(path: str | None, known: dict[str, Any], request: Request, generator: Any) -> ImageDataset:
    """The images at `path`: the subset of the training, unless they are other images or too few for it."""
    trained_with = bool(known.get("xflip"))
    xflip = trained_with if request.mirror is None else request.mirror
    size, seed = known.get("max_size"), known.get("random_seed") or 0
    whole = _open("data", path, xflip=xflip, resolution=generator.img_resolution, use_labels=generator.c_dim > 0)
    count = len(whole) // (2 if xflip else 1)
    if size is None or size == count:
        return whole
    if size < count:
        subset = whole.subset(size, seed, xflip=trained_with)
        expected = known.get("content_hash")
        if request.data is None or expected in (None, subset.content_hash()):
            return subset if xflip == trained_with else whole.subset(size, seed, xflip=xflip)
    _note(
        request,
        f"{path} is not the data of the training, of which {size} images were used; all its {count} are taken",
    )
    return whole


def _open(argument: str, path: str | None, **options: Any) -> ImageDataset:
    """A data set; messages name the argument that its path came from."""
    try:
        with renamed(path=argument):
            return ImageDataset(path, **options)
    except MissingLabels as error:
        given = "the data of the network" if path is None else path
        raise UserError(
            f"`{argument}`: the network is conditional, and {given} has no labels; give the labelled data that it was "
            "trained on (dataset_tool.py --labels-from=folders makes some)"
        ) from error


def _run(request: Request, function: Any, device: torch.device, **inputs: Any) -> list[Result]:
    names = request.names or (DEFAULT_METRIC,)
    with _progress_bar(request.progress and request.world.is_main) as progress:
        options = {
            "seed": request.seed,
            "device": device,
            "batch_size": request.batch_size,
            "detector": request.detector,
            "detector_sha256": request.detector_sha256,
            "offline": request.offline,
            "bootstrap": request.bootstrap,
            "progress": progress,
            "world": request.world,
        }
        try:
            return function(names, **inputs, **options)
        except DetectorUnavailable as error:
            if request.names:
                raise
            _note(request, f"computing {WITHOUT_DETECTOR} instead of {DEFAULT_METRIC}: {error}")
            return function((WITHOUT_DETECTOR,), **inputs, **options)


def _publish(record: dict[str, Any], run_dir: Path | None, world: World) -> None:
    if not world.is_main:
        return
    click.echo(json_text(record))
    if run_dir is not None:
        append_record(run_dir, record)


@contextmanager
def _progress_bar(wanted: bool) -> Iterator[ShowProgress | None]:
    """A bar on stderr that is renamed as the work goes on; none where not wanted."""
    if not wanted:
        yield None
        return
    with tqdm(unit="img", file=sys.stderr, leave=False) as bar:

        def show(label: str, done: int, total: int) -> None:
            if bar.desc != f"{label}: ":
                bar.reset(total)
                bar.set_description(label)
            bar.update(done - bar.n)

        yield show


def _note(request: Request, text: str) -> None:
    if request.world.is_main:
        click.echo(f"note: {text}", err=True)
