"""`train.py --continue=RUN --rollback=best|KIMG`: a run's directory as it was at a checkpoint that it kept."""

from pathlib import Path
from typing import Any

from dnnlib import UserError, copy_whole, write_json
from dnnlib.typed import fits
from torch_utils.checkpoint import DamagedCheckpoint, checkpoint_nimg, list_checkpoints, unpack
from training.run_dir import SNAPSHOTS, RunDir, names


def roll_back(run: RunDir, to: str | float) -> str:
    """Drop everything after a checkpoint, so that the run goes on as if it had never gone further.

    Args:
        run: a run directory, locked.
        to: "best", for the checkpoint of the best networks, or thousands of images, for the newest one up to there.

    Returns: a line that says what was dropped.

    Raises:
        UserError: no such checkpoint is kept, or it is damaged; nothing has been dropped.
    """
    kept = {checkpoint_nimg(path.name): path for path in list_checkpoints(run.path)}
    nimg = _target(run, to, kept)
    try:
        progress = unpack(kept[nimg]).get("progress")
    except DamagedCheckpoint as error:
        raise UserError(f"`rollback`={to}: {error}; choose another: {_shown(kept)}") from error
    if not isinstance(progress, dict):
        raise UserError(f"`rollback`={to}: {kept[nimg]} holds the state of another version of this program")
    best = progress.get("best") or {}
    best = best if fits(best, dict[str, Any]) and fits(best.get("nimg"), int) else {}
    dropped = run.drop_after(nimg)
    if run.best().get("nimg", 0) > nimg:
        dropped.append(f"{names.BEST} of {run.best()['nimg'] / 1000:g} kimg{_restore_best(run, best)}")
    return f"rolled back to {nimg / 1000:g} kimg; dropped: {', '.join(dropped) or 'nothing'}"


def _target(run: RunDir, to: str | float, kept: dict[int, Path]) -> int:
    if to == "best":
        nimg = run.best().get("nimg")
        if nimg is None:
            raise UserError("`rollback`=best: the run has no best networks, as no metric has been computed in it")
        if nimg not in kept:
            raise UserError(
                f"`rollback`=best: no checkpoint of the best networks, at {nimg / 1000:g} kimg, is kept, only "
                f"{_shown(kept)}; choose one of them, or begin a new run with `resume`={run.path / names.BEST}"
            )
        return nimg
    earlier = [nimg for nimg in kept if nimg <= to * 1000 + 0.5]
    if not earlier:
        raise UserError(f"`rollback`={to:g}: no checkpoint from so early is kept, only {_shown(kept)}")
    return max(earlier)


def _shown(kept: dict[int, Path]) -> str:
    return f"those at {', '.join(f'{nimg / 1000:g}' for nimg in sorted(kept))} kimg"


def _restore_best(run: RunDir, best: dict[str, Any]) -> str:
    """Make the best networks those of before; says which they are."""
    snapshot = run.path / SNAPSHOTS.name(best["nimg"]) if best else None
    if snapshot is None or not snapshot.exists():
        for name in (names.BEST, names.BEST_RECORD):
            (run.path / name).unlink(missing_ok=True)
        return f" (those of {best['nimg'] / 1000:g} kimg before it are not kept)" if best else ""
    copy_whole(snapshot, run.path / names.BEST)
    write_json(run.path / names.BEST_RECORD, best)
    return f" (now that of {best['nimg'] / 1000:g} kimg again)"
