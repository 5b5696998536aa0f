"""Official network pickles (stylegan2-ada-pytorch, and stylegan3's stylegan2 configuration), read without running code.

Such a file is a dict {G, D, G_ema, augment_pipe, training_set_kwargs}. Every network part in it is a call to
`torch_utils.persistence._reconstruct_persistent_obj` with the source text of its class and its attributes. The source
text is dropped unread; the attributes say what the network is, and the tensors go into networks of this project.
"""

import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dnnlib import UserError
from training.snapshot.inert_pickle import Handlers, Refused, Symbol, read
from training.snapshot.pickled_tensors import build, value_handlers

_PERSISTENT = Symbol("torch_utils.persistence", "_reconstruct_persistent_obj")
_PERSISTENCE_VERSION = 6
_STYLEGAN2_PARTS = {
    *("Generator", "MappingNetwork", "SynthesisNetwork", "SynthesisBlock", "SynthesisLayer", "ToRGBLayer"),
    *("Discriminator", "DiscriminatorBlock", "DiscriminatorEpilogue", "MinibatchStdLayer"),
    *("FullyConnectedLayer", "Conv2dLayer", "AugmentPipe"),
}
_STYLEGAN3_PARTS = {"SynthesisInput"}
_MAX_DEPTH = 8
_MAX_TENSORS = 10_000


@dataclass(frozen=True)
class OfficialNetwork:
    """One network of the file.

    Attributes:
        config: the architecture, in the names of `GeneratorConfig` or `DiscriminatorConfig`.
        tensors: parameters and buffers by their dotted names, CPU, as stored.
    """

    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]


@dataclass(frozen=True)
class OfficialPickle:
    """What an official network pickle holds. Absent networks are None; `training_set` has plain values only."""

    G: OfficialNetwork | None
    D: OfficialNetwork | None
    G_ema: OfficialNetwork | None
    training_set: dict[str, Any]
    augment_p: float | None


@dataclass(frozen=True)
class _Part:
    """A persistent object of the file: the name of its class and its attributes. Nothing else is kept."""

    class_name: str
    state: dict[str, Any]

    def children(self) -> dict[str, "_Part"]:
        modules = self.state.get("_modules")
        if type(modules) is not dict or not all(type(m) is _Part for m in modules.values()):
            raise Refused(f"the parts of its {self.class_name} are not in the expected form")
        return modules

    def child(self, *names: str) -> "_Part":
        part = self
        for name in names:
            if name not in part.children():
                raise Refused(f"its {part.class_name} has no part '{name}'")
            part = part.children()[name]
        return part

    def get(self, name: str, *kinds: type) -> Any:
        """The attribute `name`, which must be of one of `kinds`."""
        value = self.state.get(name)
        if type(value) not in kinds:
            raise Refused(f"its {self.class_name} has no usable '{name}'")
        return value


def load_official_pickle(path: str | os.PathLike) -> OfficialPickle:
    """Read an official `network-snapshot-*.pkl`. Nothing in the file is imported, called or executed.

    Raises:
        UserError: the file is no such pickle, holds anything that such a file does not need, or another architecture
            (StyleGAN3-T/R); the line names what was found.
    """
    try:
        return _load(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except Refused as reason:
        if "dnnlib.tflib" in str(reason):
            raise UserError(
                f"{path} holds networks of the TensorFlow versions of StyleGAN, which are not read; "
                "`legacy.py --source=OLD.pkl --dest=NEW.pkl` of stylegan2-ada-pytorch makes a file that is"
            ) from reason
        raise UserError(
            f"{path} was refused and nothing in it was executed: {reason}; only network pickles of "
            "stylegan2-ada-pytorch and of stylegan3's stylegan2 configuration are read"
        ) from reason


def _load(path: str | os.PathLike) -> OfficialPickle:
    symbols = {**value_handlers(budget=os.path.getsize(path)), _PERSISTENT: _part}
    with open(path, "rb") as stream:
        if not os.path.getsize(path):
            raise Refused("it is empty")
        # Unlike a file, a map answers a request for more bytes than there are without taking the memory for them.
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            content = read(data, Handlers(symbols, build))
    if type(content) is not dict or not any(content.get(key) is not None for key in ("G", "D", "G_ema")):
        raise Refused("it has no networks under the names G, D and G_ema")
    return OfficialPickle(
        G=_network(content.get("G"), "Generator"),
        D=_network(content.get("D"), "Discriminator"),
        G_ema=_network(content.get("G_ema"), "Generator"),
        training_set=_plain_values(content.get("training_set_kwargs")),
        augment_p=_augment_p(content.get("augment_pipe")),
    )


def _part(args: tuple) -> _Part:
    """Replace `_reconstruct_persistent_obj(meta)` by a record."""
    match args:
        case ({"type": "class", "version": int(version), "class_name": str(name), "state": dict(state)},):
            if version != _PERSISTENCE_VERSION:
                raise Refused(f"its persistence version is {version}, and {_PERSISTENCE_VERSION} is known")
            if name not in _STYLEGAN2_PARTS | _STYLEGAN3_PARTS:
                shown = name[:60] if name.isidentifier() else "?"
                raise Refused(f"it has a part of class '{shown}', which is not part of a StyleGAN2 network")
            return _Part(name, state)
    raise Refused(f"it calls {_PERSISTENT} without the description of a class")


def _network(part: Any, class_name: str) -> OfficialNetwork | None:
    if part is None:
        return None
    if type(part) is not _Part or part.class_name != class_name:
        raise Refused(f"the place of a {class_name} holds something else")
    config = _generator_config(part) if class_name == "Generator" else _discriminator_config(part)
    return OfficialNetwork(config, dict(_tensors(part, "", 0)))


def _tensors(
    part: _Part, prefix: str, depth: int, count: list[int] | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers under their dotted names. A part that contains itself, however often, is refused."""
    count = [0] if count is None else count
    for group in ("_parameters", "_buffers"):
        for name, tensor in part.get(group, dict).items():
            if tensor is None:
                continue
            count[0] += 1
            if type(tensor) is not torch.Tensor or count[0] > _MAX_TENSORS:
                raise Refused(f"the tensors of its {part.class_name} are not in the expected form")
            yield f"{prefix}{name}", tensor
    count[0] += 1
    if depth > _MAX_DEPTH or count[0] > _MAX_TENSORS:
        raise Refused("its network parts are nested without end")
    for name, child in part.children().items():
        yield from _tensors(child, f"{prefix}{name}.", depth + 1, count)


# The attributes, and not the arguments of the constructor, tell what was built: they hold the defaults of the
# repository that wrote the file (conv_clamp is None by default in one and 256 in the other).


def _generator_config(part: _Part) -> dict[str, Any]:
    synthesis, mapping = part.child("synthesis"), part.child("mapping")
    _refuse_stylegan3(synthesis)
    first = synthesis.child("b4")
    _require(synthesis.child("b4", "conv1"), activation="lrelu", use_noise=True)
    if first.get("architecture", str) != "skip":
        raise Refused(
            f"its generator has the architecture '{first.state['architecture'][:20]}'; only 'skip' is supported"
        )
    return {
        "z_dim": part.get("z_dim", int),
        "c_dim": part.get("c_dim", int),
        "w_dim": part.get("w_dim", int),
        "img_resolution": part.get("img_resolution", int),
        "img_channels": part.get("img_channels", int),
        "mapping_layers": _mapping_layers(mapping),
        **_channels(synthesis),
        "conv_clamp": _conv_clamp(synthesis.child("b4", "conv1")),
    }


def _discriminator_config(part: _Part) -> dict[str, Any]:
    epilogue = part.child("b4")
    resolution = part.get("img_resolution", int)
    _require(part.child("b4", "conv"), activation="lrelu")
    config = {
        "c_dim": part.get("c_dim", int),
        "img_resolution": resolution,
        "img_channels": part.get("img_channels", int),
        "architecture": part.child(f"b{resolution}").get("architecture", str),
        **_channels(part),
        "conv_clamp": _conv_clamp(part.child("b4", "conv")),
    }
    if config["c_dim"] != 0:
        config["cmap_dim"] = epilogue.get("cmap_dim", int)
        config["mapping_layers"] = _mapping_layers(part.child("mapping"))
    mbstd = epilogue.children().get("mbstd")
    if mbstd is None:
        config["mbstd_num_channels"] = 0
    else:
        config["mbstd_group_size"] = mbstd.get("group_size", int)
        config["mbstd_num_channels"] = mbstd.get("num_channels", int)
    return config


def _refuse_stylegan3(synthesis: _Part) -> None:
    if any(child.class_name in _STYLEGAN3_PARTS for child in synthesis.children().values()):
        arguments = synthesis.state.get("_init_kwargs")
        radial = type(arguments) is dict and (arguments.get("conv_kernel") == 1 or arguments.get("use_radial_filters"))
        raise Refused(f"it is a StyleGAN3-{'R' if radial else 'T'} network, which is not supported")


def _mapping_layers(mapping: _Part) -> int:
    layers = mapping.get("num_layers", int)
    if layers:
        _require(mapping.child("fc0"), activation="lrelu", bias_gain=0.01)
    return layers


def _channels(part: _Part) -> dict[str, int]:
    arguments = part.get("_init_kwargs", dict)
    values = {"channel_base": arguments.get("channel_base", 32768), "channel_max": arguments.get("channel_max", 512)}
    if not all(type(value) is int for value in values.values()):
        raise Refused(f"its {part.class_name} has no usable channel_base or channel_max")
    return values


def _conv_clamp(layer: _Part) -> float | None:
    clamp = layer.get("conv_clamp", int, float, type(None))
    return None if clamp is None else float(clamp)


def _require(part: _Part, **attributes: Any) -> None:
    """Refuse a part that was built with other than the usual settings, which this project's networks do not have."""
    for name, expected in attributes.items():
        value = part.state.get(name)
        if type(value) not in (bool, int, float, str) or value != expected:
            shown = repr(value)[:40] if isinstance(value, (bool, int, float, str)) else type(value).__name__
            raise Refused(f"its {part.class_name} has {name}={shown}; only {name}={expected!r} is supported")


def _plain_values(values: Any) -> dict[str, Any]:
    if type(values) is not dict:
        return {}
    return {
        key: value
        for key, value in values.items()
        if type(key) is str and type(value) in (str, int, float, bool, type(None))
    }


def _augment_p(part: Any) -> float | None:
    if type(part) is not _Part:
        return None
    buffers: Mapping[str, Any] = part.get("_buffers", dict)
    p = buffers.get("p")
    return float(p) if type(p) is torch.Tensor and p.numel() == 1 else None
