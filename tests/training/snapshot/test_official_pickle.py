"""Official pickles are read as data.

Hostile ones are made here, opcode by opcode; each carries a command that would leave a canary file behind, and an audit
hook hears what Python itself is asked to do. Tests show that Python's own unpickler does run them, and is heard.
"""

import contextlib
import copyreg
import io
import os
import pickle
import random
import struct
import sys
import threading
import warnings

import numpy as np
import pytest
import torch

from benchmarks.attack.official import Recorded, dumps, modules
from dnnlib import UserError
from training.snapshot import load_snapshot
from training.snapshot.inert_pickle import Handlers, Refused, Symbol, read
from training.snapshot.official_pickle import load_official_pickle
from training.snapshot.pickled_tensors import storage_from_bytes, value_handlers

GENERATOR = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")


def layer(name="SynthesisLayer", **attributes):
    usual = {"activation": "lrelu", "use_noise": True, "conv_clamp": 256, "bias_gain": 0.01}
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).t(), requires_grad=False)  # not contiguous
    parameters = {"weight": weight, "bias": None}
    return Recorded(name, parameters=parameters, buffers={"f": torch.ones(2, 2)}, **{**usual, **attributes})


def generator(synthesis_children=None, mapping_fc0=None, init=None, **attributes):
    block = Recorded("SynthesisBlock", modules={"conv1": layer()}, architecture="skip")
    synthesis = Recorded(
        "SynthesisNetwork", modules=synthesis_children or {"b4": block}, _init_args=(), _init_kwargs=init or {}
    )
    fc0 = mapping_fc0 or layer("FullyConnectedLayer")
    mapping = Recorded("MappingNetwork", modules={"fc0": fc0}, num_layers=1, buffers={"w_avg": torch.zeros(2)})
    sizes = dict(zip(GENERATOR, (3, 0, 2, 4, 3), strict=True))
    return Recorded("Generator", modules={"synthesis": synthesis, "mapping": mapping}, **{**sizes, **attributes})


def discriminator(**epilogue):
    conv = layer("Conv2dLayer", conv_clamp=None)
    mbstd = Recorded("MinibatchStdLayer", group_size=8, num_channels=1)
    b4 = Recorded("DiscriminatorEpilogue", modules={"mbstd": mbstd, "conv": conv}, cmap_dim=5, **epilogue)
    b8 = Recorded("DiscriminatorBlock", architecture="orig")
    mapping = Recorded("MappingNetwork", modules={"fc0": layer("FullyConnectedLayer")}, num_layers=8)
    sizes = {"c_dim": 2, "img_resolution": 8, "img_channels": 1, "_init_args": (), "_init_kwargs": {"channel_max": 64}}
    return Recorded("Discriminator", modules={"b8": b8, "b4": b4, "mapping": mapping}, **sizes)


def saved(tmp_path, data):
    path = tmp_path / "network.pkl"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_reads_configs_and_tensors_of_every_protocol_in_use(tmp_path, protocol):
    pipe = Recorded("AugmentPipe", buffers={"p": torch.tensor(0.25)})
    training_set = {"path": "data.zip", "xflip": True, "max_size": 7, "odd": (1, 2)}
    content = {"training_set_kwargs": training_set, "G": generator(), "D": discriminator(), "G_ema": generator()}
    official = load_official_pickle(saved(tmp_path, dumps({**content, "augment_pipe": pipe}, protocol)))

    assert official.G.config == official.G_ema.config
    assert official.G_ema.config == {
        **dict(zip(GENERATOR, (3, 0, 2, 4, 3), strict=True)),
        **{"mapping_layers": 1, "channel_base": 32768, "channel_max": 512, "conv_clamp": 256.0},
    }
    assert official.D.config == {
        **{"c_dim": 2, "img_resolution": 8, "img_channels": 1, "architecture": "orig", "channel_base": 32768},
        **{"channel_max": 64, "conv_clamp": None, "cmap_dim": 5, "mapping_layers": 8},
        **{"mbstd_group_size": 8, "mbstd_num_channels": 1},
    }
    assert sorted(official.G.tensors) == [
        *("mapping.fc0.f", "mapping.fc0.weight", "mapping.w_avg"),
        *("synthesis.b4.conv1.f", "synthesis.b4.conv1.weight"),
    ]
    assert torch.equal(official.G.tensors["mapping.fc0.weight"], torch.tensor([[0.0, 3], [1, 4], [2, 5]]))
    assert official.training_set == {"path": "data.zip", "xflip": True, "max_size": 7}
    assert official.augment_p == 0.25


def test_file_of_the_published_code(fixtures_dir):
    official = load_official_pickle(fixtures_dir / "official_layout_res32_cond_gray.pkl")
    assert official.G.config["c_dim"] == 3
    assert official.D.config["cmap_dim"] == 16
    assert official.G_ema.tensors["synthesis.b32.conv1.noise_const"].shape == (32, 32)


@pytest.mark.parametrize(("arguments", "letter"), [({"conv_kernel": 3}, "T"), ({"conv_kernel": 1}, "R")])
def test_stylegan3_is_named(tmp_path, arguments, letter):
    start = Recorded("SynthesisInput", size=np.array([4, 4]), bandwidth=np.float64(2.5))
    other = generator({"input": start, "L0_36_512": layer()}, init=arguments)
    with pytest.raises(UserError, match=f"StyleGAN3-{letter} network, which is not supported"):
        load_official_pickle(saved(tmp_path, dumps({"G_ema": other})))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"G": Recorded("SuperresGenerator")}, "class 'SuperresGenerator', which is not part of a StyleGAN2"),
        ({"G": Recorded("Generator", version=5)}, "persistence version is 5"),
        ({"G": discriminator()}, "place of a Generator holds something else"),
        ({"G": Recorded("Generator")}, "Generator has no part 'synthesis'"),
        ({"G": generator(z_dim="64")}, "Generator has no usable 'z_dim'"),
        ({"G": generator(mapping_fc0=layer("FullyConnectedLayer", activation="relu"))}, "activation='relu'; only"),
        ({"G": generator(mapping_fc0=layer("FullyConnectedLayer", bias_gain=1.0))}, "bias_gain=1.0; only"),
        ({"G": generator(init={"channel_max": 5.5})}, "no usable channel_base or channel_max"),
        ({"G": None, "D": None}, "no networks under the names"),
        ({"x": 1}, "no networks under the names"),
    ],
)
def test_other_networks_are_refused_by_what_differs(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as caught:
        load_official_pickle(saved(tmp_path, dumps(content)))
    assert "network.pkl was refused and nothing in it was executed" in str(caught.value)
    assert "\n" not in str(caught.value)


# -------- Hostile pickles


def text(string):
    encoded = string.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def imported(module, name):
    return text(module) + text(name) + b"\x93"


def storage_archive(*, first=None, last=None, numel=4):
    """The bytes of torch.save for a storage; a pickle of five can be replaced."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.arange(numel, dtype=torch.float32).storage(), stream, _use_new_zipfile_serialization=False)
    data = stream.getvalue()
    if first is not None:
        return first + data[15:]
    if last is not None:
        keys = data.index(b"\x80\x02]")
        return data[:keys] + last + data[data.index(b".", keys) + 1 :]
    return data


TARGETS = [
    *(("os", "system"), ("posix", "system"), ("subprocess", "call"), ("builtins", "exec"), ("builtins", "eval")),
    *(("builtins", "getattr"), ("builtins", "__import__"), ("functools", "partial"), ("operator", "attrgetter")),
    *(("pickle", "loads"), ("torch", "load"), ("torch.hub", "load"), ("torch._utils", "_rebuild_device_tensor")),
    *(("torch.storage", "torch.os.system"), ("torch._utils", "_rebuild_tensor_v2.__globals__")),
    *(("collections", "OrderedDict.__init__"), ("dnnlib.util", "EasyDict.__class__"), ("numpy", "load")),
    *(("training.snapshot.official_pickle", "os.system"), ("builtins", "set.union"), ("copyreg", "_reconstructor")),
]


def carriers(module, name, command):
    """Every way in which a pickle can have `module.name` called with one text."""
    function, argument = imported(module, name), text(command)
    yield "REDUCE", function + argument + b"\x85R"
    yield "GLOBAL REDUCE", f"c{module}\n{name}\n".encode() + argument + b"\x85R"
    yield "INST", b"(" + argument + f"i{module}\n{name}\n".encode()
    yield "OBJ", b"(" + function + argument + b"o"
    yield "NEWOBJ", function + argument + b"\x85\x81"
    yield "NEWOBJ_EX", function + argument + b"\x85}\x92"
    yield "BUILD state", imported("collections", "OrderedDict") + b")R" + function + argument + b"\x85Rb"
    yield "BUILD target", function + argument + b"\x85R}b"
    yield "BUILD setstate", imported("dnnlib.util", "EasyDict") + b")\x81}" + text("__setstate__") + function + b"sb"
    yield "PERSID", b"P" + command.encode() + b"\n"
    yield "BINPERSID", function + argument + b"\x85RQ"
    yield "EXT1", b"\x82\xf1" + argument + b"\x85R"
    yield "EXT2", b"\x83\xf1\x00" + argument + b"\x85R"
    yield "EXT4", b"\x84\xf1\x00\x00\x00" + argument + b"\x85R"
    persistent = imported("torch_utils.persistence", "_reconstruct_persistent_obj")
    yield (
        "persistent",
        persistent + b"}(" + text("type") + text("class") + text("x") + function + argument + b"\x85Ru\x85R",
    )


def placements(instructions):
    """The call at the top, in a network's place, as a key, and in each pickle of a tensor's storage."""
    loader = imported("torch.storage", "_load_from_bytes")
    inner = b"\x80\x04" + instructions + b"."
    yield "top", b"\x80\x04" + instructions + b"."
    yield "value", b"\x80\x04}" + text("G") + b"]" + instructions + b"as."
    yield "key", b"\x80\x04}" + instructions + b"Ns."
    for part in ({"first": inner}, {"last": inner}):
        archive = storage_archive(**part)
        yield (
            f"storage {part.keys()}",
            b"\x80\x04" + loader + b"B" + struct.pack("<I", len(archive)) + archive + b"\x85R.",
        )


def hostile_pickles(command):
    for index, (module, name) in enumerate(TARGETS):
        for carrier, instructions in carriers(module, name, command):
            if index and carrier in ("PERSID", "EXT1", "EXT2", "EXT4"):
                continue  # they do not depend on the target
            for place, data in placements(instructions):
                yield f"{module}.{name} by {carrier} at {place}", data


WATCHED = {"compile", "exec", "import", "os.exec", "os.fork", "os.posix_spawn", "os.system", "pickle.find_class"}
WATCHED |= {"subprocess.Popen", "code.__new__", "marshal.loads", "ctypes.dlopen"}
_listening: dict[int, list[str]] = {}  # by thread
_hooked: list[bool] = []


def _hear(event, arguments):
    if event in WATCHED and (heard := _listening.get(threading.get_ident())) is not None:
        heard.append(f"{event} {str(arguments)[:100]}")


@contextlib.contextmanager
def listening():
    """The list of what this thread asks Python to execute or import in the block."""
    if not _hooked:
        sys.addaudithook(_hear)  # for ever, so it consults `_listening`
        _hooked.append(True)
    heard: list[str] = []
    _listening[threading.get_ident()] = heard
    try:
        yield heard
    finally:
        del _listening[threading.get_ident()]


@pytest.fixture
def extension():
    copyreg.add_extension("os", "system", 0xF1)
    copyreg._extension_cache[0xF1] = os.system  # as after a first use: then find_class is not asked any more
    yield
    copyreg.remove_extension("os", "system", 0xF1)


@pytest.fixture
def official_modules():
    with modules():
        yield


@pytest.mark.usefixtures("extension", "official_modules")
def test_python_itself_would_run_them(tmp_path):
    canary = tmp_path / "canary"
    ran = set()
    for carrier, instructions in carriers("os", "system", f"touch {canary}"):
        with contextlib.suppress(Exception):  # most fail after the command has run
            pickle.loads(b"\x80\x04" + instructions + b".")
        if canary.exists():
            ran.add(carrier)
            canary.unlink()
    assert ran >= {"REDUCE", "GLOBAL REDUCE", "INST", "OBJ", "BUILD state", "BUILD target", "EXT1", "EXT2", "EXT4"}


@pytest.mark.parametrize(
    ("module", "name", "event"),
    [
        ("os", "system", "os.system"),
        ("posix", "system", "os.system"),
        ("subprocess", "call", "subprocess.Popen"),
        ("builtins", "exec", "exec"),
        ("builtins", "eval", "exec"),
        ("builtins", "__import__", "import"),
    ],
)
def test_the_audit_hook_hears_what_python_runs(module, name, event):
    data = b"\x80\x04" + imported(module, name) + text("true") + b"\x85R."
    with listening() as heard, contextlib.suppress(Exception):  # `true` is a command, and no name of Python's
        pickle.loads(data)
    assert any(line.startswith(f"{event} ") for line in heard), heard


@pytest.mark.usefixtures("extension")
def test_hostile_pickles_execute_nothing_and_end_in_one_line(tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    monkeypatch.setattr(
        os, "system", lambda command: canary.touch()
    )  # a call that touched it within the process counts
    path = tmp_path / "network.pkl"
    count = 0
    path.write_bytes(b"\x80\x04N.")
    with pytest.raises(UserError):
        load_snapshot(path)  # imports what it needs
    for label, data in hostile_pickles(f"touch {canary}"):
        path.write_bytes(data)
        with listening() as heard, pytest.raises(UserError) as caught:
            load_snapshot(path)
        message = str(caught.value)
        assert heard == [], label
        assert "was refused and nothing in it was executed: " in message, label
        assert "\n" not in message, label
        assert not canary.exists(), label
        count += 1
    assert count >= 200


def test_refusal_names_what_was_found(tmp_path):
    def message(data):
        with pytest.raises(UserError) as caught:
            load_official_pickle(saved(tmp_path, b"\x80\x04" + data + b"."))
        return str(caught.value)

    assert "it wants to import 'os.system'" in message(imported("os", "system") + text("true") + b"\x85R")
    assert "it wants to import 'torch.storage.torch.os'" in message(imported("torch.storage", "torch.os"))
    assert "pickle instruction INST at position 8" in message(b"(" + text("") + b"ios\nsystem\n")
    assert "pickle instruction EXT1" in message(b"\x82\xf1")
    assert "pickle instruction PERSID" in message(b"Pid\n")
    assert "call a str (REDUCE)" in message(text("eval") + text("1") + b"\x85R")
    assert "sets the attributes of a list (BUILD)" in message(b"]}b")
    assert "no complete pickle" in message(b"")
    with pytest.raises(UserError, match="it is empty"):
        load_official_pickle(saved(tmp_path, b""))


def mutations(sound, count, seed):
    """Sound bytes with some changed, removed or doubled, sometimes cut, mostly where the instructions are."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(sound)
        for _ in range(rng.choice([1, 1, 4])):
            at = rng.randrange(len(data) if rng.random() < 0.5 else min(len(data), 4000))
            match rng.randrange(4):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    del data[at : at + rng.randrange(1, 9)]
                case 2:
                    data[at:at] = data[at : at + rng.randrange(1, 40)]
                case 3:
                    data[at] = rng.choice(b"RbociQP\x81\x82\x92\x93")
        yield bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)


def refused(load, mutated, folder):
    """The messages about mutated files that `load` refuses, each one printable line that names the file."""
    messages = []
    for data in mutated:
        path = saved(folder, data)
        try:
            load(path)
        except UserError as error:
            messages.append(str(error))
    assert all(str(path) in message and message.isprintable() for message in messages)
    return messages


@pytest.mark.parametrize("protocol", [3, 4])
def test_mutated_files_end_in_one_line(tmp_path, protocol):
    sound = dumps({"G": generator(), "D": discriminator(), "G_ema": None}, protocol)
    assert len(refused(load_official_pickle, mutations(sound, 150, seed=protocol), tmp_path)) >= 75


def test_mutated_published_files_load_or_end_in_one_line(tmp_path, fixtures_dir):
    sound = (fixtures_dir / "official_layout_res16_rgb.pkl").read_bytes()
    loaded = []
    messages = refused(lambda path: loaded.append(load_snapshot(path).generator), mutations(sound, 100, 0), tmp_path)
    assert len(loaded) >= 5  # a weight was changed, or a name that nobody reads
    assert len(messages) >= 50


# -------- Files that ask for much


def test_small_files_cannot_ask_for_much_memory(tmp_path):
    archive = storage_archive()
    numel = archive.index(b"cpu") + 3
    assert archive[numel + 2 : numel + 4] == b"K\x04"
    huge = archive[: numel + 2] + b"\x8a\x06\x00\x00\x00\x00\x00\x01" + archive[numel + 4 :]
    with pytest.raises(Refused, match="cut short"):
        storage_from_bytes(huge)
    with pytest.raises(Refused, match="should have 4 elements, but has 12 bytes"):
        storage_from_bytes(archive[:-4])

    rebuild = value_handlers(budget=100)[Symbol("torch._utils", "_rebuild_tensor_v2")]
    storage = storage_from_bytes(archive)
    assert rebuild((storage, 1, (2,), (2,), False, {})).tolist() == [1, 3]
    for offset, size, stride in [(0, (1 << 40,), (0,)), (2, (3,), (1,)), (-1, (2,), (1,)), (0, (2,), (1, 1))]:
        with pytest.raises(Refused, match="tensor"):
            rebuild((storage, offset, size, stride, False, {}))

    load = value_handlers(budget=3 * len(archive))[Symbol("torch.storage", "_load_from_bytes")]
    for _ in range(3):
        load((archive,))
    with pytest.raises(Refused, match="more tensor data than it holds"):
        load((archive,))


def test_structures_that_are_slow_to_hash_or_endless_are_refused(tmp_path):
    nested = b")" + b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(60))  # 2^60 leaves, if walked
    with pytest.raises(Refused, match="key or set member of type tuple"):
        read(io.BytesIO(b"\x80\x04}" + nested + b"Ns."), Handlers(symbols={}))

    part = Recorded("SynthesisBlock", architecture="skip")
    for _ in range(40):  # 2^40 paths through 40 parts
        part = Recorded("SynthesisBlock", modules={"a": part, "b": part}, architecture="skip")
    other = generator({"b4": Recorded("SynthesisBlock", modules={"conv1": layer(), "x": part}, architecture="skip")})
    with pytest.raises(UserError, match="nested without end"):
        load_official_pickle(saved(tmp_path, dumps({"G": other})))


def test_unreadable_file(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        load_official_pickle(tmp_path / "absent.pkl")
