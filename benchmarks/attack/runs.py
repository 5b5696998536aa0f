"""Run directories and comparisons of them, whose files are damaged or hold text that obeys nobody's rules."""

import json
import math
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.attack.changes import (
    ODD,
    TEXTS,
    changed,
    changed_head,
    changed_json,
    changed_tensor,
    changed_values,
)
from benchmarks.attack.field import TINY, Field
from benchmarks.attack.networks import Arguments, drawing, write
from torch_utils.checkpoint import is_checkpoint, pack, unpack
from training.run_dir import names

JSON_ODD = tuple(value for value in ODD if not isinstance(value, bytes))
METRIC = "swd2"


def runs(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A run directory with a file changed, which is gone on with, measured or drawn from."""
    copy = shutil.copytree(field.run, case / "run")
    (copy / names.FINISHED).unlink()
    for _ in range(choose.choice((1, 1, 2))):
        # The log is what is looked at afterwards; nobody reads it.
        files = sorted(path for path in copy.iterdir() if path.is_file() and path.name != names.LOG)
        _damage(choose.choice(files), choose)
    match choose.randrange(4):
        case 0:
            return "train", f"--continue={copy}", "--kimg=0.016", "--dry-run"
        case 1:
            back = choose.choice(((), ("--rollback=best",), ("--rollback=0.008",), ("--rollback=9",)))
            return "train", f"--continue={copy}", "--kimg=0.012", *back
        case 2:
            which = choose.choice(("--best", "--last"))
            real = f"--data={field.images}"
            return "calc_metrics", f"--run={copy}", which, f"--metrics={METRIC}", real, "--device=cpu", "--verbose=0"
        case _:
            return "train", f"--run-dir={copy}", "--kimg=0.008", "--dry-run", "--device=cpu"


def _damage(path: Path, choose: random.Random) -> None:
    """Change a file by what it is, or put something else in its place."""
    if choose.random() < 0.1:
        path.unlink()
        match choose.randrange(3):
            case 0:
                path.mkdir()
            case 1:
                os.mkfifo(path)
            case 2:
                os.symlink(choose.choice(("/dev/zero", "/nowhere", path.name)), path)
    elif is_checkpoint(path.name) and choose.random() < 0.7:
        path.write_bytes(pack(_other_state(unpack(path), choose)))
    elif path.suffix == ".safetensors":
        path.write_bytes(changed_head(path.read_bytes(), choose, 16, 4000))
    elif path.suffix in (".json", ".jsonl"):
        text = path.read_text(errors="surrogateescape")
        if choose.random() < 0.5:
            text = changed_json(text, choose)
        else:
            lines = text.splitlines() if path.suffix == ".jsonl" else [text]
            place = choose.randrange(len(lines) or 1)
            lines[place:] = [json.dumps(changed_values(_parsed(lines[place]), choose, JSON_ODD)), *lines[place + 1 :]]
            text = "\n".join(lines) + "\n"
        path.write_bytes(text.encode(errors="surrogateescape"))
    else:
        path.write_bytes(changed(path.read_bytes(), choose))


def _other_state(value: Any, choose: random.Random) -> Any:
    """A checkpoint's state in which one thing is another: its checksum is right all the same."""
    if isinstance(value, torch.Tensor) and choose.random() < 0.7:
        changed = changed_tensor(value, choose)
        return changed.contiguous().clone() if changed.numel() < 1 << 20 else value.new_zeros(0)
    if not isinstance(value, dict | list) or not value or choose.random() < 0.1:
        return choose.choice([odd for odd in JSON_ODD if not (isinstance(odd, float) and not math.isfinite(odd))])
    names = list(value) if isinstance(value, dict) else list(range(len(value)))
    place = choose.choice(names)
    other = _other_state(value[place], choose)
    if isinstance(value, list):
        return [other if i == place else item for i, item in enumerate(value)]
    return {(f"{key}x" if key == place and choose.random() < 0.1 else key): other if key == place else item
            for key, item in value.items()}  # fmt: skip


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return {}


def comparisons(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A comparison whose design, runs or results are changed, and of which a report is made."""
    copy = shutil.copytree(field.comparison, case / "cmp")
    candidates = [path for path in copy.rglob("*") if path.suffix in (".json", ".jsonl", ".png")]
    for _ in range(choose.choice((1, 1, 2))):
        _damage(choose.choice(sorted(candidates)), choose) if choose.random() < 0.6 else _write_texts(copy, choose)
    return "compare", f"--outdir={copy}", "--report-only", "--device=cpu"


def _write_texts(comparison: Path, choose: random.Random) -> None:
    """Hostile text wherever a report may show text of a file."""
    design, text = comparison / "comparison.json", choose.choice(TEXTS)
    run = choose.choice(sorted((comparison / "runs").iterdir()))
    match choose.randrange(4):
        case 0:
            kept = json.loads(design.read_text())
            kept[choose.choice(("data", "train_flags", "metrics"))] = choose.choice((text, [text]))
            design.write_text(json.dumps(kept))
        case 1:
            options = json.loads((run / names.OPTIONS).read_text())
            options["training_set_kwargs"]["path"] = text
            options["dataset_hash"] = choose.choice((text, options.get("dataset_hash")))
            (run / names.OPTIONS).write_text(json.dumps(options))
        case 2:
            record = {"results": {text: 5.0}, "metric": METRIC, "nimg": 8, "not_computed": text}
            (run / names.metric_file(METRIC)).write_text(json.dumps(record) + "\n")
        case 3:
            failed = {"status": 1, "message": text, "diverged": choose.choice((True, False))}
            run.with_name(f"{run.name}.failed.json").write_text(json.dumps(failed))


def texts(field: Field, choose: random.Random, case: Path) -> Arguments:
    """Hostile text as the name of a file, a folder or a class, or in what a network says of itself."""
    text = choose.choice(TEXTS)
    name = os.fsdecode(os.fsencode(text.replace("/", "_").replace("\0", ""))[:200])
    match choose.randrange(6):
        case 0:
            target = write(case / f"{name}.png", field.pictures["PNG"])
            return ("projector", f"--network={field.network}", f"--target={target}", "--num-steps=1",
                    "--distance=pixel", f"--outdir={case / 'out'}", "--device=cpu", "--save-video=0")  # fmt: skip
        case 1:
            folder = case / name
            shutil.copytree(field.images, folder)
            return ("train", f"--data={folder}", f"--run-dir={case / 'run'}", "--kimg=0.004", "--batch=2", *TINY)
        case 2:
            return drawing(shutil.copy(field.network, case / f"{name}.safetensors"), case)
        case 3:
            metadata = {"class_names": [text, "b"], "training_set": {"path": text, "max_size": 5}}
            network = field.snapshot(case / "n.safetensors", metadata, field.conditional)
            return drawing(network, case, "--seeds=0", f"--class={choose.choice(('0', 'nobody', text))}")
        case 4:
            network = field.snapshot(case / "n.safetensors", {"training_set": {"path": text}, "cur_nimg": 5})
            data = choose.choice((("--data=network",), ()))
            return "calc_metrics", f"--network={network}", f"--metrics={METRIC}", *data, "--device=cpu", "--verbose=0"
        case _:
            folder = case / "d"
            (folder / name).mkdir(parents=True)
            write(folder / name / "0.png", field.pictures["PNG"])
            options = "--labels-from=folders", "--resolution=16", "--workers=1", f"--report={case / 'r.json'}"
            return "dataset_tool", f"--source={folder}", f"--dest={case / 'o.zip'}", *options


KINDS: dict[str, Callable[[Field, random.Random, Path], Arguments]] = {
    "run directories": runs,
    "comparisons": comparisons,
    "names and metadata": texts,
}
