"""Networks to share: one safetensors file with weights, architecture and origin, and the import of what others wrote.

A snapshot of this project holds the tensors `G.<name>`, `D.<name>`, `G_ema.<name>` (float32) and, in its header, one
JSON text with the three configs and the metadata. It cannot hold code. The same networks always give the same bytes.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from dnnlib import UserError, atomic_write
from dnnlib.download import download, file_sha256
from training.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from training.snapshot.official_pickle import OfficialNetwork, load_official_pickle

_HEADER_KEY = "rooted_stylegan_snapshot"  # one key only: safetensors writes several in an order of its own
_FORMAT_VERSION = 1
_NETWORKS = {"G": (Generator, GeneratorConfig), "D": (Discriminator, DiscriminatorConfig)}
_NETWORKS["G_ema"] = _NETWORKS["G"]
_LARGEST = {"img_resolution": 8192, "channel_base": 1 << 20, "mapping_layers": 64, "mbstd_num_channels": 64}
_LARGEST_SIZE = 1 << 16
_TORCH_ARCHIVES = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # zip, and the kind before it
_SHORTEST_SHA256 = 8  # digits, as of `dnnlib.download`
_LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format


@dataclass
class Snapshot:
    """What `load_snapshot` gives: networks on the CPU, float32, in evaluation mode, without gradients.

    Attributes:
        G, D, G_ema: the networks, None where the file has none.
        metadata: JSON values about origin and training, as `save_snapshot` was given them; official pickles give
            `training_set`, `augment_p` and `class_names` (None).
        hash: the first 16 hexadecimal digits of the file's SHA-256.
    """

    G: Generator | None
    D: Discriminator | None
    G_ema: Generator | None
    metadata: dict[str, Any] = field(default_factory=dict)
    hash: str = ""

    @property
    def generator(self) -> Generator:
        """The network to draw images with: G_ema, or G where the file has only that.

        Raises:
            UserError: the file has no generator.
        """
        network = self.G_ema if self.G_ema is not None else self.G
        if network is None:
            raise UserError("the network file holds no generator, only a discriminator; give a file with G_ema or G")
        return network


def save_snapshot(
    path: str | os.PathLike,
    *,
    G: Generator | None,
    D: Discriminator | None,
    G_ema: Generator | None,
    metadata: Mapping[str, Any],
) -> None:
    """Write a snapshot atomically. The bytes depend on nothing but the weights, the configs and the metadata.

    Args:
        path: where to, usually `network-snapshot-<kimg>.safetensors`.
        G: the generator as trained, on any device; None leaves it out (so for the next two).
        D: the discriminator.
        G_ema: the averaged generator.
        metadata: JSON values with str keys; non-finite numbers are refused (ValueError).

    Raises:
        UserError: the file cannot be written; a previous file at `path` is untouched.
    """
    networks = {name: network for name, network in (("G", G), ("D", D), ("G_ema", G_ema)) if network is not None}
    tensors = {
        f"{name}.{key}": tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
    header = {
        "version": _FORMAT_VERSION,
        "networks": {name: network.config.to_dict() for name, network in networks.items()},
        "metadata": dict(metadata),
    }
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)
    data = safetensors.torch.save(dict(sorted(tensors.items())), metadata={_HEADER_KEY: text})
    with atomic_write(path) as stream:
        stream.write(data)


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
        UserError: the file cannot be had, has another checksum, is of another kind or architecture, or is damaged.
    """
    path = fetch_network(path_or_url, sha256=sha256, cache_dir=cache_dir, offline=offline)
    data = _read(path)
    digest = hashlib.sha256(data).hexdigest()
    if _looks_like_safetensors(data):
        snapshot = _from_safetensors(path_or_url, data)
    elif data.startswith(_TORCH_ARCHIVES):
        raise UserError(
            f"{path_or_url} is a torch.save archive, not a network snapshot; a rosinality checkpoint can be converted "
            "with `python -m training.convert`, a training checkpoint continues with `train.py --continue`"
        )
    elif data[:1] == b"\x80":
        del data  # it is read again, instruction by instruction
        snapshot = _from_official(path)
    else:
        raise UserError(f"{path_or_url} is neither a safetensors snapshot nor an official network pickle")
    snapshot.hash = digest[:16]
    return snapshot


def build_network(name: str, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], where: str) -> Any:
    """Build a network from its config and all of its tensors: CPU, float32, eval, requires_grad False.

    The shapes are compared before any memory is taken, so a config cannot ask for more than the file has.

    Args:
        name: "G", "D" or "G_ema".
        config: fields of `GeneratorConfig` or `DiscriminatorConfig`.
        tensors: parameters and buffers by name.
        where: what error messages call the file.

    Raises:
        UserError: an implausible config, or tensors that are missing, left over, of another shape or integers.
    """
    make, make_config = _NETWORKS[name]
    _check_sizes(name, config, where)
    with torch.device("meta"):
        network = make(make_config.from_dict(dict(config)))
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    _compare_shapes(name, expected, {key: tuple(tensor.shape) for key, tensor in tensors.items()}, where)
    whole = [key for key, tensor in tensors.items() if not tensor.is_floating_point()]
    if whole:
        raise UserError(f"{where}: {name}.{whole[0]} holds {tensors[whole[0]].dtype} instead of floating-point numbers")
    own = {key: tensor.to(torch.float32).contiguous() for key, tensor in tensors.items()}
    network.load_state_dict(own, assign=True)
    return network.eval().requires_grad_(False)


def fetch_network(
    path_or_url: str | os.PathLike,
    *,
    sha256: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    offline: bool = False,
) -> Path:
    """The file behind a path, `https://...` or `hf://...`, downloaded if need be. Arguments as of `load_snapshot`.

    Raises:
        UserError: there is no such file, or it has another checksum.
    """
    scheme, separator, rest = str(path_or_url).partition("://")
    if not separator:
        path = Path(path_or_url)
        if path.is_dir():
            found = sorted(path.glob("network-snapshot-*"))
            remedy = f"name the file, for example {found[-1]}" if found else "it has no network-snapshot-* files"
            raise UserError(f"{path} is a folder; {remedy}")
        if not path.is_file():
            raise UserError(f"there is no network file {path}; give a path, https:// or hf://owner/repo/file")
        if sha256 is not None:
            _check_sha256(path, sha256)
        return path
    if scheme not in ("https", "http", "hf"):
        raise UserError(f"{path_or_url}: networks are fetched from https:// or hf://owner/repo/file, not {scheme}://")
    url = _hugging_face_url(rest) if scheme == "hf" else str(path_or_url)
    return download(url, sha256=sha256, cache_dir=cache_dir, offline=offline)


def _check_sha256(path: Path, expected: str) -> None:
    digest = file_sha256(path)
    if len(expected) < _SHORTEST_SHA256 or not digest.startswith(expected.lower()):
        raise UserError(f"{path} has the SHA-256 {digest}, not the expected {expected}; fetch the file again")


def is_torch_archive(path: Path) -> bool:
    """Whether a file was written by `torch.save`, by its first bytes."""
    with open(path, "rb") as stream:
        return stream.read(16).startswith(_TORCH_ARCHIVES)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _hugging_face_url(location: str) -> str:
    owner, _, rest = location.partition("/")
    repository, _, file = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not (owner and repository and file):
        raise UserError(f"hf://{location} is incomplete; write hf://owner/repo/file or hf://owner/repo@revision/file")
    return f"https://huggingface.co/{owner}/{repository}/resolve/{revision or 'main'}/{file}"


def _looks_like_safetensors(data: bytes) -> bool:
    """The length of a JSON header, then the header. The length may begin like a pickle, with the byte 0x80."""
    return data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] <= _LARGEST_HEADER


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


def _from_safetensors(where: str | os.PathLike, data: bytes) -> Snapshot:
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        reason = str(error)[:100]
        raise UserError(f"{where} is no complete safetensors file ({reason}); fetch or save it again") from error
    except KeyError as error:  # how the library answers number types that PyTorch has not
        raise UserError(f"{where} holds numbers of the type {error}, which no snapshot has") from error
    header = _header(where, data)
    groups: dict[str, dict[str, torch.Tensor]] = {name: {} for name in header["networks"]}
    for key, tensor in tensors.items():
        name, _, rest = key.partition(".")
        if name not in groups:
            raise UserError(f"{where} holds the tensor '{key[:80]}', which belongs to none of its networks")
        groups[name][rest] = tensor
    networks = {
        name: build_network(name, config, groups[name], str(where)) for name, config in header["networks"].items()
    }
    return Snapshot(networks.get("G"), networks.get("D"), networks.get("G_ema"), header["metadata"])


def _header(where: str | os.PathLike, data: bytes) -> dict[str, Any]:
    """The JSON text in the header of a file that safetensors has found to be sound."""
    length = struct.unpack("<Q", data[:8])[0]
    entries = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    if _HEADER_KEY not in entries:
        raise UserError(
            f"{where} is a safetensors file, but no snapshot of this project: it does not say which network"
        )
    try:
        header = json.loads(entries[_HEADER_KEY])
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} has a damaged header ({str(error)[:100]}); fetch or save it again") from error
    match header:
        case {"version": int(version)} if version != _FORMAT_VERSION:
            raise UserError(f"{where} has snapshot format {version}; this program reads format {_FORMAT_VERSION}")
        case {"version": int(), "networks": dict(networks), "metadata": dict()}:
            if networks and set(networks) <= set(_NETWORKS) and all(type(c) is dict for c in networks.values()):
                return header
    raise UserError(f"{where} has a damaged header (its networks are not described); fetch or save it again")


def _check_sizes(name: str, config: Mapping[str, Any], where: str) -> None:
    for key, value in config.items():
        largest = _LARGEST.get(key, _LARGEST_SIZE)
        is_size = type(value) is int and 0 <= value <= largest
        is_clamp = key == "conv_clamp" and type(value) in (int, float) and math.isfinite(value)
        is_absent = key in ("conv_clamp", "cmap_dim") and value is None
        is_name = key == "architecture" and type(value) is str
        if not (is_size or is_clamp or is_absent or is_name):
            raise UserError(f"{where}: {name} has {key}={str(value)[:40]!r}, which no StyleGAN2 network has")


def _compare_shapes(
    name: str, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], where: str
) -> None:
    wrong = [f"{key} is missing" for key in expected if key not in found]
    wrong += [f"{key[:80]} is unknown" for key in found if key not in expected]
    wrong += [
        f"{key} is {list(found[key])} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"{where}: the tensors of {name} do not fit its architecture: {'; '.join(wrong[:3])}{more}")
