"""Networks and what goes with them: pickles, snapshots, archives of torch.save, TorchScript, latents, noise."""

import io
import json
import pickle
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from benchmarks.attack import official
from benchmarks.attack.changes import ODD, TEXTS, changed, changed_head, changed_json, changed_tensor, changed_values
from benchmarks.attack.field import Call, Field
from training.snapshot.rosinality import generator_to_rosinality

Arguments = tuple[str, ...]


def drawing(network: Path | str, case: Path, *more: str) -> Arguments:
    """A command that draws a picture with a network."""
    return "generate", f"--network={network}", *(more or ("--seeds=0",)), f"--outdir={case / 'out'}", "--device=cpu"


def write(path: Path, data: bytes) -> Path:
    """Write a file and return its path."""
    path.write_bytes(data)
    return path


def calling_pickles(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A pickle that calls something, itself or changed."""
    data = field.executing(choose)
    return drawing(write(case / "net.pkl", data if choose.random() < 0.4 else changed(data, choose)), case)


def official_pickles(field: Field, choose: random.Random, case: Path) -> Arguments:
    """An official pickle that is a valid one and has other numbers, shapes, types or names inside; or changed bytes."""
    config = field.G.config.to_dict()
    content = {"G": None, "D": None, "G_ema": official.recorded_generator(field.G, config), "augment_pipe": None}
    content["training_set_kwargs"] = {"path": "data.zip", "max_size": choose.choice(ODD)}
    if choose.random() < 0.8:
        official.change(content, choose)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = official.dumps(content, choose.choice((2, 3, 4, 5)))
        except (pickle.PicklingError, RuntimeError, NotImplementedError):  # what cannot be pickled at all
            data = field.executing(choose)
    return drawing(write(case / "net.pkl", changed(data, choose) if choose.random() < 0.2 else data), case)


def snapshots(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A `.safetensors` network, changed, most often in its header, as bytes or as JSON of the right length."""
    data = field.network.read_bytes()
    if choose.random() < 0.5:
        return drawing(write(case / "net.safetensors", changed_head(data, choose, 16, 2000, 4000)), case)
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    if choose.random() < 0.7:
        key = next(iter(header["__metadata__"]))
        inner = header["__metadata__"][key]
        inner = changed_json(inner, choose) if choose.random() < 0.5 else _json(json.loads(inner), choose)
        header["__metadata__"][key] = inner.encode(errors="replace").decode()
        text = json.dumps(header)
    else:
        text = _json(header, choose)
    raw = text.encode(errors="surrogateescape")
    return drawing(write(case / "net.safetensors", struct.pack("<Q", len(raw)) + raw + data[8 + length :]), case)


def _json(value: dict, choose: random.Random) -> str:
    return json.dumps(changed_values(value, choose, tuple(v for v in ODD if not isinstance(v, bytes))))


def torch_files(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A `.pt` as torch.save writes it, changed inside or as bytes, or with a pickle in it that calls something."""
    if choose.random() < 0.3:
        parts = {"archive/data.pkl": field.executing(choose), "archive/version": b"3\n"}
        data = zipped(parts)
    else:
        state = generator_to_rosinality(field.G)
        content = {"g_ema": state, "latent_avg": torch.zeros(8)}
        for _ in range(choose.choice((0, 1, 1, 3))):
            name = choose.choice(list(state))
            match choose.randrange(5):
                case 0 | 1 if isinstance(state[name], torch.Tensor):
                    state[name] = changed_tensor(state[name], choose)
                case 2:
                    state[f"{choose.choice(ODD)}"] = state.pop(name)
                case 3:
                    state[name] = choose.choice(ODD)
                case 4:
                    content[choose.choice(("g_ema", "latent_avg", "g", "d", "g_optim"))] = choose.choice((*ODD, state))
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=choose.random() < 0.8)
        data = stream.getvalue()
    path = write(case / "net.pt", changed(data, choose) if choose.random() < 0.5 else data)
    return "training.convert", str(path), str(case / "out.safetensors")


def detectors(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A TorchScript file, damaged, with an entry replaced, or of a module that does not fit."""
    with zipfile.ZipFile(field.detector) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    match choose.randrange(4):
        case 0 | 1:
            data = changed(field.detector.read_bytes(), choose)
        case 2:
            name = choose.choice(list(entries))
            replaced = choose.choice((changed(entries[name], choose), field.executing(choose), b""))
            data = zipped({**entries, name: replaced})
        case 3:
            code = next(name for name in entries if name.endswith(".py"))
            bodies = (
                b"return 5",
                b"return images[0, 0]",
                b'raise AssertionError("\\n\x1b[2J")',
                b"return None",
                b"x = (",
            )
            lines = entries[code].replace(b"\r", b"").split(b"\n")
            start = next(i for i, line in enumerate(lines) if b"def forward" in line)
            body = [b"    " + choose.choice(bodies), b""]
            data = zipped({**entries, code: b"\n".join(lines[: start + 2] + body)})
    path = write(case / "detector.pt", data)
    if choose.random() < 0.3:
        return ("projector", f"--network={field.network}", f"--target={field.images / '0.png'}", "--num-steps=1",
                f"--distance={path}", f"--outdir={case / 'out'}", "--device=cpu", "--save-video=0")  # fmt: skip
    folders = f"--real={field.images}", f"--fake={field.images}"
    return "calc_metrics", *folders, "--metrics=fid2_full", f"--detector={path}", "--device=cpu", "--verbose=0"


def latents(field: Field, choose: random.Random, case: Path) -> Arguments:
    """A file of latents, changed, of other arrays or with objects in it."""
    stream = io.BytesIO()
    if choose.random() < 0.3:
        tensor = changed_tensor(torch.zeros(1, 6, 8), choose)
        one, name = {"latent": tensor}, choose.choice(("w", "latents", "x"))
        content = choose.choice((tensor, {name: tensor}, {"a": one}, {"a": one, "b": {"latent": torch.zeros(8)}}))
        torch.save(content, stream, _use_new_zipfile_serialization=choose.random() < 0.7)
    elif choose.random() < 0.2:
        np.savez(stream, w=np.array([Call(exec, f"open({str(field.marks / 'executed')!r}, 'w')")], dtype=object))
    else:
        save = choose.choice((np.savez, np.savez_compressed, lambda stream, **one: np.save(stream, *one.values())))
        shape = choose.choice(((1, 6, 8), (1, 6, 8), (1, 8), (6, 8), (0, 6, 8), (), (1, 6, 9), (1,) * 20))
        values = np.full(shape, choose.choice((0.0, np.nan, np.inf, 1e300)))
        types = (np.float32, np.float64, np.int8, np.complex64, "S3", "M8[s]", ">f4", bool)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            save(stream, **{choose.choice(("w", "w", "w", "x")): values.astype(choose.choice(types), casting="unsafe")})
    data = stream.getvalue()
    path = case / choose.choice(("w.npz", "w.npy", "w.pt"))
    write(path, changed(data, choose) if choose.random() < 0.6 else data)
    return drawing(field.network, case, f"--projected-w={path}")


def directions(field: Field, choose: random.Random, case: Path) -> Arguments:
    """Directions of w: changed bytes, other numbers, shapes, types or names; or added to by the command."""
    tensor = torch.zeros(6, 8)
    tensor[:3] = torch.ones(8)
    found = {"smile": tensor, choose.choice((*TEXTS, "turn")): changed_tensor(tensor, choose)}
    if sum(tensor.numel() for tensor in found.values()) > 1 << 22:
        found = {}
    data = safetensors.torch.save({name: tensor.contiguous().clone() for name, tensor in found.items()})
    path = write(
        case / "directions.safetensors", changed_head(data, choose, 16, 400) if choose.random() < 0.5 else data
    )
    what = choose.choice((f"--directions={path}", f"--save-directions={path}"))
    more = ("--directions=pca", "--direction=0") if "save" in what else ()
    return drawing(field.network, case, "--seeds=0", "--steps=2", what, *more)


def noise(field: Field, choose: random.Random, case: Path) -> Arguments:
    """Maps of noise: changed bytes, other numbers, shapes, types or names."""
    maps = {name: buffer.clone() for name, buffer in field.G.named_buffers() if name.endswith("noise_const")}
    name = choose.choice(list(maps))
    if choose.random() < 0.6:
        maps[name] = changed_tensor(maps[name], choose)
    if choose.random() < 0.2:
        maps[choose.choice(TEXTS)] = maps.pop(name)
    if sum(tensor.numel() for tensor in maps.values()) > 1 << 22:
        maps = {}
    data = safetensors.torch.save({name: tensor.contiguous().clone() for name, tensor in maps.items()})
    if choose.random() < 0.5:
        data = changed_head(data, choose, 16, 400)
    path = write(case / "noise.safetensors", data)
    return drawing(field.network, case, "--seeds=0", f"--projected-noise={path}")


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these entries."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return stream.getvalue()


KINDS: dict[str, Callable[[Field, random.Random, Path], Arguments]] = {
    "pickles that call": calling_pickles,
    "official pickles": official_pickles,
    "safetensors networks": snapshots,
    "torch.save files": torch_files,
    "detectors": detectors,
    "latents": latents,
    "directions": directions,
    "noise maps": noise,
}
