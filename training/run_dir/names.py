"""The names of a run's files, and what a name says. They are the reference's where it has such a file."""

import re
from dataclasses import dataclass
from pathlib import Path

from torch_utils.checkpoint import checkpoint_nimg, is_checkpoint

OPTIONS = "training_options.json"
LOG = "log.txt"
STATS = "stats.jsonl"
REALS = "reals.png"
FAKES_INIT = "fakes_init.png"
BEST, BEST_RECORD = "best.safetensors", "best.json"
FINISHED, DIVERGED = "finished.json", "diverged.json"
LOCK = ".lock"
EVENTS = "events.out.tfevents."
_PICTURE = r"copies\w*"  # metrics that leave a picture


@dataclass(frozen=True)
class Numbered:
    """Files with thousands of images in their name, six digits; `others` are endings that count in reading."""

    prefix: str
    ending: str
    others: tuple[str, ...] = ()

    def name(self, nimg: int) -> str:
        """The name of the file after `nimg` images."""
        return f"{self.prefix}{nimg // 1000:06d}{self.ending}"

    def nimg(self, name: str) -> int | None:
        """The images that a name tells of, None for other names."""
        endings = "|".join(map(re.escape, (self.ending, *self.others)))
        match = re.fullmatch(rf"{re.escape(self.prefix)}(\d+)({endings})", name)
        return int(match.group(1)) * 1000 if match else None

    def find(self, folder: Path) -> dict[int, Path]:
        """The files of a folder by images, in their order."""
        found = {}
        for ending in (*self.others, self.ending):  # of two with the same count the project's own
            for path in folder.glob(f"{self.prefix}*{ending}"):
                found[self.nimg(path.name)] = path
        return {nimg: found[nimg] for nimg in sorted(nimg for nimg in found if nimg is not None)}


SNAPSHOTS = Numbered("network-snapshot-", ".safetensors", others=(".pkl",))  # the reference's are pickles
FAKES = Numbered("fakes", ".png")


def metric_file(metric: str) -> str:
    """The file of a metric's results."""
    return f"metric-{metric}.jsonl"


def metric_of(name: str) -> str:
    """The inverse of `metric_file`."""
    return name.removeprefix("metric-").removesuffix(".jsonl")


def picture_file(metric: str, nimg: int) -> str:
    """The file of the picture that belongs to a metric's result after `nimg` images."""
    return f"{metric}-{nimg // 1000:06d}.png"


def nimg_of(name: str) -> int | None:
    """The images that the name of a snapshot, grid, picture or checkpoint tells of, None for other names."""
    picture = re.fullmatch(rf"{_PICTURE}-(\d{{6,}})\.png", name)
    told = (SNAPSHOTS.nimg(name), FAKES.nimg(name), checkpoint_nimg(name.removesuffix(".damaged")))
    return int(picture[1]) * 1000 if picture else next((nimg for nimg in told if nimg is not None), None)


def is_ours(name: str) -> bool:
    """Whether a run writes files of this name; of no other may one be removed or written over."""
    return (
        name in (OPTIONS, LOG, STATS, REALS, FAKES_INIT, BEST, BEST_RECORD, FINISHED, DIVERGED)
        or name.startswith(EVENTS)
        or name == metric_file(metric_of(name))
        or re.fullmatch(rf"{_PICTURE}-\d{{6,}}\.png", name) is not None
        or any(name == kind.name(kind.nimg(name) or 0) for kind in (SNAPSHOTS, FAKES))
        or is_checkpoint(name.removesuffix(".damaged"))
    )


def is_leftover(name: str) -> bool:
    """Whether this is what a killed `dnnlib.atomic_write` or `copy_whole` leaves of such a file."""
    match = re.fullmatch(r"\.(.+?)(\.[a-z0-9_]{8})?\.tmp", name)
    return match is not None and is_ours(match[1])
