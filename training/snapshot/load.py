"""Networks from any file that this program knows, by what the file holds, whatever its name."""

import hashlib
import os
from pathlib import Path
from typing import Any

from dnnlib import UserError
from dnnlib.download import fetch
from torch_utils.arrays import TORCH_ARCHIVES
from training.run_dir import SNAPSHOTS
from training.snapshot.build import build_network
from training.snapshot.official_pickle import OfficialNetwork, load_official_pickle
from training.snapshot.own_format import Snapshot, from_safetensors, looks_like_safetensors


def load_snapshot(
    path_or_url: str | os.PathLike,
    *,
    sha256: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    offline: bool = False,
) -> Snapshot:
    """Load networks from a snapshot of this project or an official StyleGAN2-ADA pickle, without executing anything.

    Args:
        path_or_url: a file, `https://...`, or `hf://owner/repo/file` (`hf://owner/repo@revision/file`).
        sha256: the expected SHA-256 in hexadecimal, or its first 8 digits or more; None accepts any.
        cache_dir: where downloads are kept; None for the default.
        offline: use only what has been downloaded before.

    Raises:
        UserError: the file is missing, has another checksum, is of another kind or architecture, or is damaged.
    """
    path = find_network(path_or_url, sha256=sha256, cache_dir=cache_dir, offline=offline)
    data = _read(path)
    digest = hashlib.sha256(data).hexdigest()
    if looks_like_safetensors(data):
        snapshot = from_safetensors(path_or_url, data)
    elif data.startswith(TORCH_ARCHIVES):
        raise UserError(
            f"{path_or_url} is a torch.save archive, not a network snapshot; a rosinality checkpoint can be converted "
            "with `python -m training.convert`, a training checkpoint continues with `train.py --continue`"
        )
    elif data[:1] == b"\x80":
        del data  # it is read again, instruction by instruction
        snapshot = _from_official(path)
    else:
        raise UserError(f"{path_or_url} is neither a safetensors snapshot nor an official network pickle{_kind(data)}")
    snapshot.hash = digest[:16]
    return snapshot


def _kind(data: bytes) -> str:
    """What a file without a network is, where its beginning tells; with what to do then."""
    start = data[:512].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return ", but a Git LFS pointer: the file itself was not fetched; run `git lfs pull` or fetch it again"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return ", but a web page: the download failed (a login, a quota, a wrong address); fetch the file again"
    if not start:
        return ", but empty: the download failed; fetch the file again"
    known = {b"\x1f\x8b": "gzip", b"\x89png": "a PNG picture", b"\xff\xd8": "a JPEG picture", b"\x89hdf": "HDF5"}
    return next((f", but {kind}" for begin, kind in known.items() if start.startswith(begin)), "")


def find_network(location: str | os.PathLike, **options: Any) -> Path:
    """The file behind `location`; it and the options as of `dnnlib.download.fetch`.

    Raises:
        UserError: there is no such file, or it has another checksum.
    """
    if (folder := Path(location)).is_dir():
        found = list(SNAPSHOTS.find(folder).values())
        remedy = f"name the file, for example {found[-1]}" if found else "it has no network-snapshot-* files"
        raise UserError(f"{folder} is a folder; {remedy}")
    return fetch(location, "network", looks_right=_may_be_network, **options)


def _may_be_network(data: bytes) -> bool:
    return looks_like_safetensors(data) or data.startswith((b"\x80", *TORCH_ARCHIVES))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _from_official(path: Path) -> Snapshot:
    content = load_official_pickle(path)

    def build(name: str, network: OfficialNetwork | None) -> Any:
        return None if network is None else build_network(name, network.config, network.tensors, str(path))

    metadata = {
        "training_set": content.training_set,
        "augment_p": content.augment_p,
        "class_names": None,
        "imported_from": "official pickle",
    }
    return Snapshot(build("G", content.G), build("D", content.D), build("G_ema", content.G_ema), metadata)
