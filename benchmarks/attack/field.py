"""The good files that cases start from, made once, and the place where the marks of executed code would be."""

import contextlib
import importlib
import io
import json
import os
import pickle
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

TINY = ("--cbase=64", "--cmax=8", "--map-depth=1", "--grid=2x1", "--metrics=none", "--device=cpu")
PICTURES = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "TGA")


class Call:
    """Pickled as a call of `function`, which Python's own reader would make."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple:
        return self._call


class Field:
    """What all cases share, below `folder`.

    Attributes:
        marks: the folder where executed code leaves a file.
        pictures: a picture in each format.
        G: a generator; network: its snapshot.
        conditional: one with two classes.
        detector: a TorchScript file.
        run: a finished run directory; comparison: of two losses, with such runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marks = folder / "marks"
        self.marks.mkdir()
        (folder / "attack_mark.py").write_text(f"open({str(self.marks / 'imported')!r}, 'w').close()\n")
        self.pictures = {form: picture(form) for form in PICTURES}
        self.images = folder / "images"
        self.images.mkdir()
        for i in range(2):
            (self.images / f"{i}.png").write_bytes(self.pictures["PNG"])
        self.G, self.conditional = _generator(0), _generator(2)
        self.network = self.snapshot(folder / "net.safetensors", {"class_names": None})
        self.detector = folder / "detector.pt"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(_Detector()).save(str(self.detector))
        self.run = folder / "run"
        invoke("train", f"--run-dir={self.run}", "--kimg=0.008", "--tick=0.004", "--snap=1", "--batch=4", *TINY)
        self.comparison = self._compared(folder / "cmp")

    def _compared(self, folder: Path) -> Path:
        from comparison.runs.design import load_design
        from comparison.runs.jobs import run_folder

        what = "--losses=ce,rlo:k=2", "--seeds=1", "--kimg=1", "--metrics=swd2", "--evaluations=1"
        invoke("compare", f"--outdir={folder}", *what, "--print-commands", "--device=cpu")
        for loss in load_design(folder).losses:
            run = shutil.copytree(self.run, run_folder(folder, loss, 0))
            record = {"results": {"swd2": 5.0}, "metric": "swd2", "nimg": 8, "source": "training"}
            (run / "metric-swd2.jsonl").write_text(json.dumps(record) + "\n")
        return folder

    def snapshot(self, path: Path, metadata: dict[str, Any], G: nn.Module | None = None) -> Path:
        """Write a network with this metadata."""
        from training.snapshot import save_snapshot

        save_snapshot(path, G=None, D=None, G_ema=self.G if G is None else G, metadata=metadata)
        return path

    def executing(self, choose: random.Random) -> bytes:
        """A pickle that would leave a mark."""
        mark = str(self.marks / "executed")
        code = f"open({mark!r}, 'w').close()"
        calls = (
            Call(os.system, f"touch {mark}"),
            Call(exec, code),
            Call(eval, code),
            Call(importlib.import_module, "attack_mark"),
            Call(open, mark, "w"),
            {"G": None, "D": None, "G_ema": Call(exec, code), "training_set_kwargs": {}},
            [Call(getattr, Call(importlib.import_module, "os"), "system")],
        )
        return pickle.dumps(choose.choice(calls), choose.choice((0, 2, 4)))


class _Detector(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(torch.float32).mean(dim=[2, 3])


def _generator(classes: int) -> nn.Module:
    from training.networks import Generator, GeneratorConfig

    config = GeneratorConfig(
        z_dim=8, w_dim=8, c_dim=classes, img_resolution=16, img_channels=3, mapping_layers=1, channel_base=64,
        channel_max=8,
    )  # fmt: skip
    return Generator(config).eval().requires_grad_(False)


def picture(form: str) -> bytes:
    """A picture of 16 x 16 pixels, as PNG where this Pillow writes no such files."""
    stream = io.BytesIO()
    try:
        Image.fromarray(np.random.RandomState(0).randint(0, 256, (16, 16, 3), np.uint8)).save(stream, form)
    except (KeyError, OSError):
        return picture("PNG")
    return stream.getvalue()


def invoke(door: str, *arguments: str) -> Any:
    """Give a command its arguments inside of this process."""
    module = importlib.import_module(door if "." in door else f"rooted_stylegan.{door}")
    return CliRunner().invoke(module.main, list(arguments))


@contextlib.contextmanager
def battlefield() -> Iterator[Field]:
    """The good files, in a temporary folder."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        yield Field(Path(folder))
