"""What `calc_metrics.py` does: find networks and data, compute, print, and add to the run directory's files."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from dnnlib import UserError, atomic_write, json_text, make_folder
from dnnlib.cli import in_flags, say
from metrics.detectors.detector import DetectorUnavailable
from metrics.evaluation import compare, compute
from metrics.names import check_names, higher_is_better, parse_metric
from metrics.results import Result, append_record
from metrics.settings import EvaluationSettings, ShowProgress
from metrics.training_data import open_images, training_set
from training.dataset import ImageDataset
from training.dataset.images import NotAlike
from training.dataset.mixed import MixedImages
from training.run_dir import SNAPSHOTS, RunDir
from training.snapshot import Snapshot, load_snapshot

DEFAULT_METRIC = "fid50k_full"
SUBSTITUTES = (("fd_lite0_2k", "swd"), ("swd",))  # of which the first is taken whose detectors are here


@dataclass(frozen=True)
class Request:
    """What of the command line's options is no setting of the evaluation; see its help."""

    networks: tuple[str, ...]
    run_dir: str | None
    which: str
    real: str | None
    fake: str | None
    names: tuple[str, ...]
    data: str | None
    mirror: bool | None
    network_sha256: str | None
    pictures: str | None
    progress: bool
    settings: EvaluationSettings

    def __post_init__(self) -> None:
        check_names(self.names)
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


def evaluate(request: Request) -> None:
    """Compute what is asked for; the main process prints a JSON line per result and appends to the run's files.

    Raises:
        UserError: on all processes, as they find the same mistakes or tell each other of theirs.
    """
    if request.pictures is not None and request.settings.world.is_main:
        make_folder(request.pictures, "`pictures`")
    try:
        if request.real is not None:
            _evaluate_folders(request)
        else:
            _evaluate_networks(request)
    except UserError as error:
        error.everywhere = True
        raise


def _evaluate_folders(request: Request) -> None:
    def opened() -> tuple[ImageDataset | MixedImages, ImageDataset | MixedImages]:
        return _folder("real", request.real, xflip=bool(request.mirror)), _folder("fake", request.fake)

    real, fake = request.settings.world.together(opened)
    for images in (real, fake):
        if images.left_out:
            _note(request, f"{images.path}: {images.left_out}")
    for result in _run(request, compare, real=real, fake=fake):
        _publish(request, result, result.record())


def _folder(argument: str, path: str, **options: Any) -> ImageDataset | MixedImages:
    try:
        return open_images(argument, path, **options)
    except NotAlike:
        return MixedImages(path, **options)


def _evaluate_networks(request: Request) -> None:
    files = snapshots_of(request.run_dir, request.which, request.names) if request.run_dir else request.networks
    has_real_set = any(parse_metric(name).real_set is not None for name in request.names or (DEFAULT_METRIC,))
    of_run = _data_of_run(request.run_dir) if request.run_dir else None
    for file in files:

        def opened(file: str | Path = file) -> tuple[Snapshot, ImageDataset | None]:
            snapshot = load_snapshot(file, sha256=request.network_sha256, offline=request.settings.offline)
            note = partial(_note, request)
            return snapshot, training_set(
                snapshot, request.data, request.mirror, of_run=of_run, has_real_set=has_real_set, note=note
            )

        snapshot, dataset = request.settings.world.together(opened)
        folder = Path(file).resolve().parent if "://" not in str(file) else None
        in_run = folder is not None and RunDir(folder).has_begun
        shown = Path(file).name if in_run else str(file)
        for result in _run(request, compute, G=snapshot.generator, dataset=dataset):
            record = result.record(snapshot=shown)
            record["computed_from"] = {**record["computed_from"], "network_hash": snapshot.hash}
            record["source"] = "calc_metrics"
            if "cur_nimg" in snapshot.metadata:
                record["nimg"] = snapshot.metadata["cur_nimg"]
            _publish(request, result, record, Path(shown).stem, RunDir(folder) if in_run else None)


def _data_of_run(run_dir: str) -> str | None:
    """The data that a run's own options name; None where they name none."""
    run = RunDir(run_dir)
    named = run.options().get("training_set_kwargs") if run.has_begun else None
    path = named.get("path") if isinstance(named, dict) else None
    return path if isinstance(path, str) else None


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


def _run(request: Request, function: Callable[..., list[Result]], **inputs: Any) -> list[Result]:
    with _progress_bar(request.progress and request.settings.world.is_main) as progress:
        options = vars(replace(request.settings, progress=progress))
        if request.names:
            return function(request.names, **inputs, **options)
        try:
            return function((DEFAULT_METRIC,), **inputs, **options)
        except DetectorUnavailable as error:
            reason = error
        for names in SUBSTITUTES:
            try:
                results = function(names, **inputs, **options)
            except DetectorUnavailable:
                continue
            _note(request, f"computed {' and '.join(names)} instead of {DEFAULT_METRIC}: {reason}")
            return results
        raise AssertionError("the last ones need no detector")


def _publish(
    request: Request, result: Result, record: dict[str, Any], stem: str | None = None, run: RunDir | None = None
) -> None:
    """Print the record; write it and the picture to the run's directory, the picture to a folder that was asked for."""
    if not request.settings.world.is_main:
        return
    click.echo(json_text(record))
    for line in result.remarks():
        say(in_flags(line), err=True)
    if run is not None:
        append_record(run.path, record)
        if result.picture is not None and "nimg" in record:
            run.write_picture(result.metric, record["nimg"], result.picture)
    if result.picture is not None and request.pictures is not None:
        with atomic_write(Path(request.pictures, f"{result.metric}{'' if stem is None else f'-{stem}'}.png")) as stream:
            stream.write(result.picture)


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
    if request.settings.world.is_main:
        say(f"note: {in_flags(text)}", err=True)
