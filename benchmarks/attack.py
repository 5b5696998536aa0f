"""Damaged and hostile files for every door: `python -m benchmarks.attack --minutes=5`.

Good files are made, then changed by chance or replaced by hostile ones, and given to the commands inside of a forked
child with limits on time, memory and file size. What may happen: status 0 or 2, at most one error line, and no code of
a file executed, which would leave a mark. All is a function of the seed but how many cases fit into the minutes.
"""

import contextlib
import http.server
import importlib
import io
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

from dnnlib import atomic_write
from torch_utils.machine.environment import provenance

SECONDS = 60  # for a case, however busy the machine is
MEMORY = 4 << 30  # bytes of address space above what a child begins with
FILE_BYTES = 1 << 28
BATCH = 40  # cases of a child
TINY = ("--batch=4", "--cbase=64", "--cmax=8", "--map-depth=1", "--grid=2x1", "--metrics=none", "--device=cpu")
PICTURES = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "TGA")
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(MARK) (w) file closefile showpage\n"
JSON_WORDS = (
    "null", "[]", "{}", "-1", "1e999", "NaN", "9" * 5000, "[" * 3000, '"\\u001b[2J\\n"', '"\\ud800"', "1000000", "true",
)  # fmt: skip


class Call:
    """Pickled as a call of `function`, which Python's own reader would make."""

    def __init__(self, function: Callable, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple:
        return self._call


class Field:
    """The good files that cases start from, made once, and the place where the marks of executed code would be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marks = folder / "marks"
        self.marks.mkdir()
        (folder / "attack_mark.py").write_text(f"open({str(self.marks / 'imported')!r}, 'w').close()\n")
        self.pictures = {form: _picture(form) for form in PICTURES}
        self.network = self._network(folder / "net.safetensors")
        self.run = folder / "run"
        _invoke("train", f"--run-dir={self.run}", "--kimg=0.008", "--tick=0.004", "--snap=0", *TINY)

    def _network(self, path: Path) -> Path:
        from training.networks import Generator, GeneratorConfig
        from training.snapshot import save_snapshot

        config = GeneratorConfig(
            z_dim=8, w_dim=8, c_dim=0, img_resolution=16, img_channels=3, mapping_layers=1, channel_base=64,
            channel_max=8,
        )  # fmt: skip
        save_snapshot(path, G=None, D=None, G_ema=Generator(config), metadata={"class_names": None})
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


def _picture(form: str) -> bytes:
    stream = io.BytesIO()
    try:
        Image.fromarray(np.random.RandomState(0).randint(0, 256, (16, 16, 3), np.uint8)).save(stream, form)
    except (KeyError, OSError):  # this Pillow writes no such files
        return _picture("PNG")
    return stream.getvalue()


def changed(data: bytes, choose: random.Random) -> bytes:
    """The bytes with a few changes by chance."""
    raw = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 5, 20))):
        place, size = choose.randrange(len(raw) or 1), choose.choice((1, 1, 2, 4, 8, 100))
        match choose.randrange(7):
            case 0 | 1 if raw:
                raw[place] ^= 1 << choose.randrange(8)
            case 2:
                raw[place : place + size] = bytes([choose.choice((0, 255, 127, 128))]) * size
            case 3:
                raw[place : place + size] = choose.randbytes(size)
            case 4:
                raw[place:place] = raw[place // 2 : place // 2 + size]
            case 5:
                del raw[place : place + size]
            case 6 if choose.random() < 0.3:
                del raw[place:]
    return bytes(raw)


def changed_json(text: str, choose: random.Random) -> str:
    """The text with a value replaced by an odd one, or with other changes."""
    if choose.random() < 0.3:
        return changed(text.encode(), choose).decode(errors="surrogateescape")
    places = [i for i, c in enumerate(text) if c in ":,["]
    place = choose.choice(places) + 1 if places else 0
    end = min((i for i in (text.find(c, place) for c in ",]}") if i >= 0), default=len(text))
    return text[:place] + choose.choice(JSON_WORDS) + text[end:]


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _zip(field: Field, choose: random.Random, entries: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    kind = choose.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return stream.getvalue()


def pickles(field: Field, choose: random.Random, case: Path) -> tuple[str, ...]:
    """An official pickle that calls something, itself or changed."""
    data = field.executing(choose)
    path = _write(case / "net.pkl", data if choose.random() < 0.4 else changed(data, choose))
    return "generate", f"--network={path}", "--seeds=0", f"--outdir={case / 'out'}", "--device=cpu"


def snapshots(field: Field, choose: random.Random, case: Path) -> tuple[str, ...]:
    """A `.safetensors` network, changed, most often in its header."""
    data = field.network.read_bytes()
    head = choose.choice((16, 2000, 4000, len(data)))
    path = _write(case / "net.safetensors", changed(data[:head], choose) + data[head:])
    return "generate", f"--network={path}", "--seeds=0", f"--outdir={case / 'out'}", "--device=cpu"


def torch_files(field: Field, choose: random.Random, case: Path) -> tuple[str, ...]:
    """A `.pt` as torch.save writes it, changed, or with a pickle in it that calls something."""
    stream = io.BytesIO()
    torch.save({"g_ema": {"style.1.weight": torch.zeros(8, 8), "input.input": torch.zeros(1, 8, 4, 4)}}, stream)
    data = stream.getvalue()
    if choose.random() < 0.5:
        data = _zip(field, random.Random(0), {"archive/data.pkl": field.executing(choose), "archive/version": b"3\n"})
    path = _write(case / "net.pt", changed(data, choose) if choose.random() < 0.8 else data)
    return "training.snapshot.convert", str(path), str(case / "out.safetensors")


def latents(field: Field, choose: random.Random, case: Path) -> tuple[str, ...]:
    """An `.npz` of latents, changed, or with objects in it."""
    stream = io.BytesIO()
    if choose.random() < 0.2:
        np.savez(stream, w=np.array([Call(exec, f"open({str(field.marks / 'executed')!r}, 'w')")], dtype=object))
    else:
        save = choose.choice((np.savez, np.savez_compressed))
        save(stream, w=np.zeros((1, 6, 8), choose.choice((np.float32, np.float64, np.int8))))
    path = _write(case / "w.npz", changed(stream.getvalue(), choose))
    return "generate", f"--network={field.network}", f"--projected-w={path}", f"--outdir={case / 'out'}", "--device=cpu"


def data_zips(field: Field, choose: random.Random, case: Path) -> tuple[str, ...]:
    """A zip of pictures, changed, or with an entry that swells."""
    entries = {f"{i}.png": field.pictures["PNG"] for i in range(3)}
    path = _write(case / "d.zip", changed(_zip(field, choose, entries), choose))
    if choose.random() < 0.05:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("0.png", field.pictures["PNG"])
            archive.writestr(choose.choice(("dataset.json", "a.bmp")), b" " * (80 << 20))
    return _data_command(choose, path, case)


def data_folders(field: Field, choose: random.Random, case: Path) -> tuple[str, ...]:
    """A folder with an entry that is no picture: a pipe, a device, a name of odd bytes, a deep path."""
    folder = case / "d"
    folder.mkdir()
    _write(folder / "0.png", field.pictures["PNG"])
    name = choose.choice(("a.png", "dataset.json", "b.jpg", "\x1b[2J.png", "\udcff.png", "a" * 250 + ".png"))
    match choose.randrange(5):
        case 0:
            os.mkfifo(folder / name)
        case 1:
            os.symlink(choose.choice(("/dev/zero", "/dev/stdin", "/nowhere", name)), folder / name)
        case 2:
            (folder / name).mkdir()
        case 3:
            _write(folder / name, field.executing(choose))
        case 4:
            deep = folder.joinpath(*["d"] * choose.choice((10, 300, 600)))
            deep.mkdir(parents=True)
            _write(deep / "0.png", field.pictures["PNG"])
    return _data_command(choose, folder, case)


def labels(field: Field, choose: random.Random, case: Path) -> tuple[str, ...]:
    """A `dataset.json`, changed."""
    folder = case / "d"
    folder.mkdir()
    for i in range(2):
        _write(folder / f"{i}.png", field.pictures["PNG"])
    value = choose.choice((lambda i: i, lambda i: [0.5, i]))
    text = json.dumps({"labels": [[f"{i}.png", value(i)] for i in range(2)], "classes": ["a", "b"], "x": {"y": [1]}})
    _write(folder / "dataset.json", changed_json(text, choose).encode(errors="surrogateescape"))
    return _data_command(choose, folder, case, *choose.choice(((), ("--cond=1",))))


def pictures(field: Field, choose: random.Random, case: Path) -> tuple[str, ...]:
    """A picture of each format, changed, or PostScript under its name."""
    folder = case / "d"
    folder.mkdir()
    data = field.pictures[choose.choice(PICTURES)]
    for i in range(3):
        ps = POSTSCRIPT.replace(b"MARK", os.fsencode(field.marks / "executed"))
        form = choose.choice((".png", ".jpg", ".webp", ".tif", ".gif", ".jp2"))
        _write(folder / f"{i}{form}", changed(data, choose) if choose.random() < 0.95 else ps)
    return _data_command(choose, folder, case)


def runs(field: Field, choose: random.Random, case: Path) -> tuple[str, ...]:
    """A run directory with a file changed."""
    copy = shutil.copytree(field.run, case / "run")
    for path in copy.glob("finished.json"):
        path.unlink()
    path = choose.choice(sorted(path for path in copy.iterdir() if path.suffix in (".json", ".jsonl", ".safetensors")))
    if path.suffix == ".safetensors":
        data = path.read_bytes()
        head = choose.choice((16, 4000, len(data)))
        path.write_bytes(changed(data[:head], choose) + data[head:])
    else:
        path.write_bytes(changed_json(path.read_text(), choose).encode(errors="surrogateescape"))
    return "train", f"--continue={copy}", "--kimg=0.016", "--dry-run"


def downloads(field: Field, choose: random.Random, case: Path) -> tuple[str, ...]:
    """A server that answers with something else than a network, in an odd way."""
    head = choose.choice(
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 404 \x1b[2J\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", b"",
            b"HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename=../../x\r\n\r\n", b"\0" * 100,
        )
    )  # fmt: skip
    answer = changed(head, choose) + choose.choice((b"<html>no</html>", field.executing(choose), b""))
    answer = answer if choose.random() < 0.5 else head + changed(field.network.read_bytes()[:3000], choose)
    url = _serve_once(answer)
    return "generate", f"--network={url}", "--seeds=0", f"--outdir={case / 'out'}", "--device=cpu"


def _serve_once(answer: bytes) -> str:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(answer)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Nothing is logged."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/net-{time.time_ns()}.pkl"


def _data_command(choose: random.Random, path: Path, case: Path, *more: str) -> tuple[str, ...]:
    if more or choose.random() < 0.5:
        return "train", f"--data={path}", f"--outdir={case / 'out'}", "--dry-run", "--device=cpu", *more
    on_error = choose.choice(("stop", "skip", "convert"))
    dest = f"--dest={case / 'o.zip'}"
    return "dataset_tool", f"--source={path}", dest, f"--on-error={on_error}", "--workers=1", "--resolution=16"


KINDS: dict[str, Callable[[Field, random.Random, Path], tuple[str, ...]]] = {
    "official pickles": pickles,
    "safetensors networks": snapshots,
    "torch.save files": torch_files,
    "latents": latents,
    "data zips": data_zips,
    "data folders": data_folders,
    "dataset.json": labels,
    "pictures": pictures,
    "run directories": runs,
    "downloads": downloads,
}


def _invoke(door: str, *arguments: str) -> Any:
    module = importlib.import_module(door if "." in door else f"rooted_stylegan.{door}")
    return CliRunner().invoke(module.main, list(arguments))


class Slow(BaseException):
    """A case took more than its time."""


def _attack(field: Field, kind: str, seed: int, cases: range, results: Path) -> None:
    """Run cases; each appends (number, fault) to `results`, the number alone when it begins."""
    os.environ["DNNLIB_CACHE_DIR"] = str(field.folder / "cache")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)

    def too_slow(*_: Any) -> None:
        raise Slow

    signal.signal(signal.SIGALRM, too_slow)
    time.sleep = lambda _: None  # in this child alone: a download waits before it tries again
    sys.path.insert(0, str(field.folder))
    with open(results, "a", encoding="utf-8", buffering=1) as stream:
        for number in cases:
            stream.write(json.dumps([number, None]) + "\n")
            stream.write(json.dumps([number, _fault(field, kind, seed, number)]) + "\n")


def _fault(field: Field, kind: str, seed: int, number: int) -> str:
    choose = random.Random(f"{seed} {kind} {number}")
    with tempfile.TemporaryDirectory(dir=field.folder) as folder:
        arguments = KINDS[kind](field, choose, Path(folder))
        signal.alarm(SECONDS)
        try:
            done = _invoke(*arguments)
        except Slow:
            return f"more than {SECONDS} seconds"
        finally:
            signal.alarm(0)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        if list(field.marks.iterdir()):
            return "executed"
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return f"{type(done.exception).__name__}: {str(done.exception)[:200]}"
        if done.exit_code not in (0, 2) or len(lines) > 1 or "Traceback" in done.output:
            return f"status {done.exit_code}, {len(lines)} error lines: {' | '.join(lines)[:200]}"
        if not all(c.isprintable() for line in lines for c in line):
            return f"not printable: {lines!r}"[:200]
    return ""


def attack(field: Field, kind: str, seed: int, cases: range) -> list[tuple[int, str]]:
    """Run the cases of a kind in children; the numbers of those that went wrong, and how."""
    context, faults = multiprocessing.get_context("fork"), []
    for first in range(cases.start, cases.stop, BATCH):
        left = range(first, min(first + BATCH, cases.stop))
        while left:
            results = field.folder / "results"
            results.write_text("")
            child = context.Process(target=_attack, args=(field, kind, seed, left, results))
            child.start()
            child.join(SECONDS * 2 + BATCH * 5)
            if child.is_alive():
                child.kill()
                child.join()
            lines = [json.loads(line) for line in results.read_text().splitlines()]
            faults += [(number, fault) for number, fault in lines if fault]
            ended = [number for number, fault in lines if fault is not None]
            if len(ended) == len(left):
                break
            broken = lines[-1][0] if lines else left.start
            faults.append((broken, f"the process ended with {child.exitcode}"))
            left = range(broken + 1, left.stop)
    return faults


@contextlib.contextmanager
def battlefield() -> Iterator[Field]:
    """The good files, in a temporary folder."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        yield Field(Path(folder))


def page(counts: Counter, faults: dict[str, list[tuple[int, str]]], command: str) -> str:
    """The table, as Markdown."""
    found = provenance("cpu", "pillow", "numpy", "safetensors")
    rows = [f"| {kind} | {counts[kind]} | {len(faults.get(kind, ()))} |" for kind in KINDS if counts[kind]]
    total = f"| all | {counts.total()} | {sum(map(len, faults.values()))} |"
    return "\n".join(
        [
            "# Damaged and hostile files", "",
            "Each case gives a command one file (or folder, or server) that was changed by chance or made to do harm,",
            f"in a process with {MEMORY >> 30} GiB more memory than it starts with, {FILE_BYTES >> 20} MiB of a file",
            f"and {SECONDS} seconds. A failure is a traceback, a hang, too much memory, code of the file executed, a",
            "status other than 0 or 2, or more than one error line.", "",
            f"    {command}", "",
            *(f"* {key}: {value}" for key, value in found.items() if key != "command"), "",
            "| files | cases | failures |", "|---|---|---|", *rows, total, "", *_told(faults),
        ]
    )  # fmt: skip


def _told(faults: dict[str, list[tuple[int, str]]]) -> Iterator[str]:
    for kind, found in faults.items():
        for what, count in Counter(fault.partition(":")[0] for _, fault in found).most_common():
            yield f"* {kind}: {count} x {what}"


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0), default=5.0, show_default=True, help="How long to go on.")
@click.option("--seed", default=0, show_default=True, help="Of all cases.")
@click.option("--kind", type=click.Choice(list(KINDS)), multiple=True, help="Only these.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the table there.")
def main(minutes: float, seed: int, kind: tuple[str, ...], out: Path | None) -> None:
    """Attack every door with damaged and hostile files; status 1 where one gave way."""
    end, counts, faults = time.monotonic() + 60 * minutes, Counter(), {}
    with battlefield() as field:
        for start in range(0, 10**9, BATCH):
            for name in kind or KINDS:
                found = attack(field, name, seed, range(start, start + BATCH))
                counts[name] += BATCH
                faults.setdefault(name, []).extend(found)
                for number, fault in found:
                    click.echo(f"{name} {number}: {fault}")
            if time.monotonic() > end:
                break
    command = f"python -m benchmarks.attack --minutes={minutes:g} --seed={seed}"
    text = page(counts, faults, command)
    click.echo(text)
    if out is not None:
        with atomic_write(out, "w") as stream:
            stream.write(text)
    sys.exit(1 if any(faults.values()) else 0)


if __name__ == "__main__":
    main()
