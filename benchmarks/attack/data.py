"""Data sets: zips, tars, arrays, folders, labels, and pictures of every format."""

import gzip
import io
import json
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.attack.changes import ODD, TEXTS, changed, changed_json, changed_values
from benchmarks.attack.field import PICTURES, Field
from benchmarks.attack.networks import Arguments, write, zipped

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(MARK) (w) file closefile showpage\n"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DEPTHS = (*(10, 300, 600) * 9, 3000)
NAMES = (
    "a.png", "dataset.json", "b.jpg", "\x1b[2J.png", "\udcff.png", "a" * 250 + ".png", "../x.png", "/x.png",
    "c:\\x.png", *(text[:80].replace("/", "_") + ".png" for text in TEXTS),
)  # fmt: skip


def zips(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A zip of pictures, changed, with odd names, or with an entry that swells."""
    names = [choose.choice(NAMES) if choose.random() < 0.2 else f"{i}.png" for i in range(3)]
    entries = {name.encode(errors="replace").decode(): field.pictures["PNG"] for name in names}
    data = zipped(entries, choose.choice(METHODS))
    path = write(case / "d.zip", changed(data, choose) if choose.random() < 0.8 else data)
    if choose.random() < 0.05:
        swelling = {choose.choice(("dataset.json", "a.bmp")): b" " * (80 << 20)}
        write(path, zipped({"0.png": field.pictures["PNG"], **swelling}, zipfile.ZIP_DEFLATED))
    return command(choose, path, case)


def archives(field: Field, choose: random.Random, case: Path) -> Arguments:
    """What else dataset_tool.py reads: tars, CIFAR-10, MNIST, arrays of JPEG files; changed."""
    match choose.randrange(4):
        case 0:
            data = _tar({choose.choice(NAMES): field.pictures["PNG"], "1.png": field.pictures["PNG"]}, "w")
            path = case / "d.tar"
        case 1:
            batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
            batches = {f"x/data_batch_{i}": pickle.dumps(batch, 2) for i in range(1, 6)}
            batches["x/batches.meta"] = choose.choice(
                (field.executing(choose), pickle.dumps({"label_names": ["a"]}, 2))
            )
            name = choose.choice(list(batches))
            batches[name] = choose.choice((changed(batches[name], choose), field.executing(choose)))
            data, path = _tar(batches, "w:gz"), case / "cifar-10-python.tar.gz"
        case 2:
            sizes = choose.choice(((2, 28, 28), (2, 0, 28), (-1, 28, 28), (2**31 - 1,) * 3, (2, 16, 16)))
            data = struct.pack(">4i", 0x803, *sizes) + bytes(2 * 784)
            data = gzip.compress(changed(data, choose) if choose.random() < 0.5 else data)
            path = case / "train-images-idx3-ubyte.gz"
        case 3:
            jpeg = np.frombuffer(field.pictures["JPEG"] * 2, np.uint8)
            offsets = np.array([0, len(jpeg) // 2, choose.choice((len(jpeg), 2**40, -1))])
            stream = io.BytesIO()
            np.savez(stream, train_jpeg=jpeg, train_offsets=offsets, train_labels=[0, 1], classes=list(TEXTS[:2]))
            data, path = stream.getvalue(), case / "d.npz"
    write(path, changed(data, choose) if choose.random() < 0.6 else data)
    return _tool(choose, path, case)


def _tar(entries: dict[str, bytes], mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def folders(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A folder with an entry that is no picture: a pipe, a device, a name of odd bytes, a deep path."""
    folder = case / "d"
    folder.mkdir()
    write(folder / "0.png", field.pictures["PNG"])
    name = choose.choice(NAMES).replace("/", "_").replace("\\", "_")
    name = os.fsdecode(os.fsencode(name.replace("\ud800", ""))[:250])
    match choose.randrange(6):
        case 0:
            os.mkfifo(folder / name)
        case 1:
            os.symlink(choose.choice(("/dev/zero", "/dev/stdin", "/nowhere", name, "..")), folder / name)
        case 2:
            (folder / name).mkdir()
        case 3:
            write(folder / name, field.executing(choose))
        case 4:
            write(folder / name, field.pictures["PNG"])
        case 5:
            _deep(folder, choose.choice(DEPTHS), field.pictures["PNG"])
    return command(choose, folder, case)


def _deep(folder: Path, depth: int, data: bytes) -> None:
    """A picture so many folders below `folder`: more than a path may be long, so that it is made step by step."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    with open(os.open("0.png", os.O_WRONLY | os.O_CREAT, dir_fd=at), "wb") as stream:
        stream.write(data)
    os.close(at)


def labels(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A `dataset.json`, changed, or with odd names of classes."""
    folder = case / "d"
    folder.mkdir()
    for i in range(2):
        write(folder / f"{i}.png", field.pictures["PNG"])
    value = choose.choice((lambda i: i, lambda i: [0.5, i]))
    classes = choose.choice((["a", "b"], [choose.choice(TEXTS), choose.choice(TEXTS)]))
    content = {"labels": [[f"{i}.png", value(i)] for i in range(2)], "classes": classes, "x": {"y": [1]}}
    if choose.random() < 0.4:
        content = changed_values(content, choose, tuple(v for v in ODD if not isinstance(v, bytes)))
    text = json.dumps(content)
    if choose.random() < 0.6:
        text = changed_json(text, choose)
    write(folder / "dataset.json", text.encode(errors="surrogateescape"))
    return command(choose, folder, case, *choose.choice(((), ("--cond=1",))))


def pictures(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A picture of each format, changed, or PostScript under its name."""
    folder = case / "d"
    folder.mkdir()
    data = field.pictures[choose.choice(PICTURES)]
    for i in range(3):
        ps = POSTSCRIPT.replace(b"MARK", os.fsencode(field.marks / "executed"))
        form = choose.choice((".png", ".jpg", ".webp", ".tif", ".gif", ".jp2", ".bmp", ".ppm", ".tga", ".avif"))
        write(folder / f"{i}{form}", changed(data, choose) if choose.random() < 0.95 else ps)
    if choose.random() < 0.1:
        return ("projector", f"--network={field.network}", f"--target={folder}", "--num-steps=1", "--distance=pixel",
                f"--outdir={case / 'out'}", "--device=cpu", "--save-video=0")  # fmt: skip
    return command(choose, folder, case)


def command(choose: random.Random, path: Path, case: Path, *more: str) -> Arguments:
    """A command that reads a data set."""
    if more or choose.random() < 0.5:
        return "train", f"--data={path}", f"--outdir={case / 'out'}", "--dry-run", "--device=cpu", *more
    return _tool(choose, path, case)


def _tool(choose: random.Random, path: Path, case: Path) -> Arguments:
    on_error = f"--on-error={choose.choice(('stop', 'skip', 'convert'))}"
    labels_from = f"--labels-from={choose.choice(('auto', 'auto', 'json', 'folders'))}"
    report = (f"--report={case / 'report.json'}",) if choose.random() < 0.3 else ()
    dest = f"--dest={case / 'o.zip'}"
    return (
        "dataset_tool", f"--source={path}", dest, on_error, labels_from, "--workers=1", "--resolution=16", *report
    )  # fmt: skip


KINDS: dict[str, Callable[[Field, random.Random, Path], Arguments]] = {
    "data zips": zips,
    "other archives": archives,
    "data folders": folders,
    "dataset.json": labels,
    "pictures": pictures,
}
