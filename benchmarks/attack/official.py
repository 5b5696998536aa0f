"""A writer of the layout of official network pickles: good ones to change, without a file from outside."""

import contextlib
import pickle
import random
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

from torch import nn

from benchmarks.attack.changes import ODD, changed_tensor


class Recorded:
    """Pickles as a call of the persistence module with a description, as official networks do.

    Args:
        class_name: of the part.
        modules, parameters, buffers: its children and tensors by name.
        version: of the layout.
        attributes: what else its state holds.
    """

    def __init__(
        self,
        class_name: str,
        modules: Any = (),
        parameters: Any = (),
        buffers: Any = (),
        version: int = 6,
        **attributes: Any,
    ) -> None:
        hooks = {"_forward_hooks": {}, "_non_persistent_buffers_set": set()}
        tensors = {"_parameters": dict(parameters), "_buffers": dict(buffers)}
        self.meta = {
            "type": "class",
            "version": version,
            "module_src": "raise SystemExit('the source text was executed')",
            "class_name": class_name,
            "state": {"training": False, **tensors, "_modules": dict(modules), **hooks, **attributes},
        }

    def __reduce__(self) -> tuple:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@contextlib.contextmanager
def modules() -> Iterator[type]:
    """The official repositories' modules, which exist by name only; gives their EasyDict."""

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("never called here")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    util.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    with mock.patch.dict(sys.modules, {persistence.__name__: persistence, util.__name__: util}):
        yield util.EasyDict


def dumps(content: dict[str, Any], protocol: int = 3) -> bytes:
    """Pickle like the official repositories."""
    with modules() as easy_dict, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = {key: easy_dict(value) if type(value) is dict else value for key, value in content.items()}
        return pickle.dumps(plain, protocol=protocol)


def recorded_generator(module: nn.Module, config: dict[str, Any]) -> Recorded:
    """The description of a generator of this project."""
    usual = {"activation": "lrelu", "use_noise": True, "bias_gain": 0.01, "architecture": "skip"}
    usual |= {"conv_clamp": config["conv_clamp"], "num_layers": config["mapping_layers"], "_init_args": ()}
    usual["_init_kwargs"] = {key: config[key] for key in ("channel_base", "channel_max")}
    sizes = {key: config[key] for key in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")}

    def record(part: nn.Module, class_name: str, **attributes: Any) -> Recorded:
        children = {name: record(child, "SynthesisLayer") for name, child in part.named_children()}
        tensors = part._parameters, part._buffers
        return Recorded(class_name, children, *tensors, **usual, **attributes)

    return record(module, "Generator", **sizes)


def change(content: dict[str, Any], choose: random.Random) -> None:
    """Change parts, their attributes, names and tensors in place."""
    for _ in range(choose.choice((1, 1, 2, 5))):
        parts = [part for value in content.values() for part in _parts(value)]
        if not parts:
            return
        part = choose.choice(parts)
        state = part.meta["state"]
        group = state.get(choose.choice(("_parameters", "_buffers", "_modules")))
        group = group if isinstance(group, dict) and group else state
        name = choose.choice(list(group) or ["x"])
        match choose.randrange(8):
            case 0 | 1:
                state[choose.choice(list(state) or ["x"])] = choose.choice(ODD)
            case 2 | 3 if hasattr(group.get(name), "new_zeros"):
                group[name] = changed_tensor(group[name].detach(), choose)
            case 4:
                group[choose.choice(("", "x", *map(str, ODD)))] = group.pop(name, None)
            case 5:
                group.pop(name, None)
            case 6:
                part.meta[choose.choice(list(part.meta))] = choose.choice(ODD)
            case 7:
                content[choose.choice(list(content))] = choose.choice((part, *ODD))


def _parts(value: Any) -> Iterator[Recorded]:
    if isinstance(value, Recorded) and isinstance(value.meta.get("state"), dict):
        yield value
        modules = value.meta["state"].get("_modules")
        with contextlib.suppress(AttributeError):
            for child in modules.values():
                yield from _parts(child)
