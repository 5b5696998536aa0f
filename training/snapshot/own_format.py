"""The file format of snapshots: one safetensors file with weights, architecture and origin.

It holds the tensors `G.<name>`, `D.<name>`, `G_ema.<name>` (float32) and, in its header, one JSON text with the three
configs and the metadata. It cannot hold code. The same networks always give the same bytes.
"""

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import safetensors
import safetensors.torch
import torch

from dnnlib import UserError, atomic_write, first_line
from dnnlib.typed import fits, type_name
from training.networks import Discriminator, Generator
from training.snapshot.build import build_network

_HEADER_KEY = "rooted_stylegan_snapshot"  # one key only: safetensors writes several in an order of its own
_FORMAT_VERSION = 1
_NAMES = {"G", "D", "G_ema"}
_METADATA: dict[str, Any] = {  # what others read; the rest is passed on as it is
    "class_names": list[str] | None,
    "training_set": dict[str, Any] | None,
    "augment_p": float,
    "cur_nimg": int,
    "dataset_hash": str | None,
}
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


def looks_like_safetensors(data: bytes) -> bool:
    """Whether `data` begins with the length of a JSON header, then the header.

    The length may begin like a pickle, with the byte 0x80.
    """
    return data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] <= _LARGEST_HEADER


def from_safetensors(where: str | os.PathLike, data: bytes) -> Snapshot:
    """The snapshot in the bytes `data` of a file; `where` is what error messages call it.

    Raises:
        UserError: the file is damaged, or no snapshot of this project.
    """
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        reason = str(error)[:100]
        raise UserError(f"{where} is no complete safetensors file ({reason}); fetch or save it again") from error
    except KeyError as error:  # how the library answers number types that PyTorch has not
        raise UserError(f"{where} holds numbers of the type {error}, which no snapshot has") from error
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:  # sizes that no tensor has
        raise UserError(f"{where} holds an impossible tensor ({first_line(error)}); fetch or save it again") from error
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
        header = json.loads(entries[_HEADER_KEY], parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} has a damaged header ({str(error)[:100]}); fetch or save it again") from error
    match header:
        case {"version": int(version)} if version != _FORMAT_VERSION:
            raise UserError(f"{where} has snapshot format {version}; this program reads format {_FORMAT_VERSION}")
        case {"version": int(), "networks": dict(networks), "metadata": dict(metadata)}:
            if networks and set(networks) <= _NAMES and all(type(c) is dict for c in networks.values()):
                _check_metadata(where, metadata)
                return header
    raise UserError(f"{where} has a damaged header (its networks are not described); fetch or save it again")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _check_metadata(where: str | os.PathLike, metadata: Mapping[str, Any]) -> None:
    for key, hint in _METADATA.items():
        if key in metadata and not fits(metadata[key], hint):
            raise UserError(f"{where}: '{key}' in its metadata should be {type_name(hint)}")
    training_set = metadata.get("training_set") or {}
    if not fits(training_set.get("path"), str | None):
        raise UserError(f"{where}: 'training_set.path' in its metadata should be str or none")
