"""The full state of a run in one file: written whole or not at all, checked when read, never executed.

A checkpoint is a safetensors file. Its tensors are those of the objects' state dicts; everything else
in them is JSON in the header, beside a SHA-256 over both, so a truncated or altered file is noticed
and the one before it is used. Reading such a file cannot run code.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import safetensors
import torch
from safetensors.torch import save

from dnnlib import UserError, atomic_write, first_line
from dnnlib.typed import fits
from torch_utils.processes.distributed import World

FORMAT = "rooted-stylegan checkpoint 1"
_NAME = re.compile(r"checkpoint-(\d{9})\.safetensors")


class Stateful(Protocol):
    """Anything with a state dict of tensors, numbers, strings, lists and dictionaries."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...  # noqa: D102


class DamagedCheckpoint(Exception):
    """The file is not a whole checkpoint."""


class Checkpoints:
    """The checkpoints of a run directory.

    Args:
        run_dir: where `checkpoint-<images:09d>.safetensors` are written.
        objects: what is saved, by name; each has state_dict and load_state_dict.
        keep: how many of the newest files stay.
        log: called with a line for the user.
        remedy: what the user can do where the files are of no use.
    """

    def __init__(
        self,
        run_dir: Path,
        objects: dict[str, Stateful],
        *,
        keep: int = 2,
        log: Callable[[str], None] = print,
        remedy: str = "remove them to start afresh",
    ) -> None:
        for name, value in objects.items():
            if not hasattr(value, "state_dict") or not hasattr(value, "load_state_dict"):
                raise ValueError(f"'{name}' has no state_dict and load_state_dict")
        self._run_dir, self._objects, self._keep, self._log = Path(run_dir), objects, keep, log
        self._remedy = remedy

    def save(self, nimg: int, *, write: bool = True, prune: bool = True, spare: int | None = None) -> None:
        """Write the state after `nimg` images, then remove the oldest files unless `prune` is off.

        That after `spare` images stays, whatever its age.
        Every process calls it, as state dicts may gather; only the one with `write` touches the disk.
        """
        states = {name: value.state_dict() for name, value in self._objects.items()}
        if not write:
            return
        path = self._run_dir / f"checkpoint-{nimg:09d}.safetensors"
        data = pack(states)
        with atomic_write(path) as stream:
            stream.write(data)
        for old in list_checkpoints(self._run_dir)[self._keep :] if prune else []:
            if checkpoint_nimg(old.name) != spare:
                os.unlink(old)

    def load_latest(self, world: World | None = None) -> bool:
        """Take up the newest whole checkpoint; False where the folder has none at all.

        The main process reads it and sends it to the others, so that all have the same, on any machine.

        Raises:
            UserError: there are checkpoints, but every one is damaged, or the newest whole one does not fit.
        """
        states = (world or World()).main_only(self._newest)
        if states is None:
            return False
        for name, value in self._objects.items():
            try:
                _check_alike(states[name], value.state_dict(), name)
                value.load_state_dict(states[name])
            except UserError:
                raise
            except Exception as error:  # there is nothing that a state of another form does not make an object raise
                raise UserError(
                    f"the checkpoint in {self._run_dir} is damaged: {name} cannot be taken up ({first_line(error)}); "
                    f"{self._remedy}"
                ) from error
        return True

    def _newest(self) -> dict[str, Any] | None:
        paths = list_checkpoints(self._run_dir)
        damaged: list[Path] = []
        for path in paths:
            try:
                states = unpack(path)
            except DamagedCheckpoint as error:
                self._log(f"warning: {error}; trying the one before")
                damaged.append(path)
                continue
            if set(states) != set(self._objects):
                raise UserError(f"{path} holds the state of another version of this program; {self._remedy}")
            for other in damaged:
                # Out of the way, or it would count among those that stay and push a whole one out.
                os.replace(other, other.with_name(other.name + ".damaged"))
            return states
        if paths:
            raise UserError(f"every checkpoint in {self._run_dir} is damaged; {self._remedy}")
        return None


def _check_alike(found: Any, own: Any, name: str) -> None:
    """Compare a state with the object's own before it is taken up: tensors in shape, numbers and the rest in type.

    What only one of them has is the object's business: states grow, and those of earlier versions lack something.

    Raises:
        ValueError: names the place.
    """
    if isinstance(own, dict) and isinstance(found, dict):
        for key in own.keys() & found.keys():
            _check_alike(found[key], own[key], f"{name}.{key}")
        return
    if own is None:
        return
    if isinstance(own, torch.Tensor):
        alike = isinstance(found, torch.Tensor) and found.shape == own.shape
    elif isinstance(own, list):
        alike = isinstance(found, list)
    else:
        alike = fits(found, type(own))
    if not alike:
        raise ValueError(f"{name} is of another kind or shape")


def list_checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoint files of a run directory, newest first; folders, pipes and devices of such a name are none."""
    found = (path for path in Path(run_dir).iterdir() if is_checkpoint(path.name) and path.is_file())
    return sorted(found, reverse=True)


def is_checkpoint(name: str) -> bool:
    """Whether a file of this name is one."""
    return checkpoint_nimg(name) is not None


def checkpoint_nimg(name: str) -> int | None:
    """The images that a checkpoint's name tells of, None for other names."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def pack(states: dict[str, Any]) -> bytes:
    """The content of a checkpoint file for nested dictionaries and lists of tensors and JSON values."""
    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(_split(states, "", tensors), allow_nan=False)
    return save(tensors, metadata={"format": FORMAT, "state": tree, "sha256": _digest(tree, tensors)})


def unpack(path: Path) -> dict[str, Any]:
    """The inverse of `pack`, tensors on the CPU.

    Raises:
        DamagedCheckpoint: truncated, altered, or no such file at all; nothing in it is executed.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            # Copies: what it gives out is mapped to the file, which may be removed or replaced.
            tensors = {name: stream.get_tensor(name).clone() for name in stream.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise DamagedCheckpoint(f"{path} is not a whole checkpoint ({error})") from error
    if metadata.get("format") != FORMAT:
        raise DamagedCheckpoint(f"{path} is not a checkpoint of this program")
    if _digest(metadata.get("state", ""), tensors) != metadata.get("sha256"):
        raise DamagedCheckpoint(f"{path} is damaged: its checksum does not match its content")
    try:
        states = _join(json.loads(metadata["state"]), tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedCheckpoint(f"{path} holds no state ({first_line(error)})") from error
    if not isinstance(states, dict):
        raise DamagedCheckpoint(f"{path} holds no state")
    return states


def _digest(tree: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(tree.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _split(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """JSON for `value`, its tensors moved to `tensors` under their path and replaced by a reference."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {"$tensor": name}
    if isinstance(value, dict):
        pairs = [(key, _split(item, f"{name}.{key}" if name else key, tensors)) for key, item in value.items()]
        # JSON has no other keys than strings, and optimizers have numbers.
        return dict(pairs) if all(isinstance(key, str) for key in value) else {"$items": pairs}
    if isinstance(value, list | tuple):
        return [_split(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: a {type(value).__name__} cannot be saved")


def _join(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$tensor"}:
            return tensors[value["$tensor"]]
        if set(value) == {"$items"}:
            return {key: _join(item, tensors) for key, item in value["$items"]}
        return {key: _join(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_join(item, tensors) for item in value]
    return value
