"""What the studio shows, as one value: in an address, as a preset file, and as the command that draws it."""

import dataclasses
import json
import math
import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from dnnlib import UserError
from dnnlib.errors import printable
from dnnlib.seeds import LARGEST_SEED
from dnnlib.typed import fits, type_name
from generation.edits import Edit, format_layers, parse_edit, parse_layers

NOISE = ("const", "random", "none")
LARGEST_PSI = 10.0
MOST_LAYERS = 100
MOST_EDITS = 64
MOST_KEYS = 32
LONGEST_VECTOR = 500
LARGEST_LABEL = 1e6
LONGEST_TEXT = 2000  # characters of a class
LONGEST_QUERY = 1 << 14


@dataclass(frozen=True)
class State:
    """One picture, and what it is compared with.

    Attributes:
        left, right: which network, as `A` (a run: its newest snapshot) or `A@24` (that after 24 kimg); right is empty
            where nothing stands beside.
        of: hash of the left network's file when the state was written down, empty if that does not matter.
        seed: of z, from 0 to 2^32 - 1.
        photo: name of a projected point instead of a seed, empty for none.
        psi, cutoff: truncation; None for all layers. Without effect on a photograph, as in generate.py.
        noise: one of `NOISE`; noise_seed: of random noise.
        label: class by index, name or mixture, as `--class`; empty without.
        vector: the label itself instead, as `--label`, for multi-hot and continuous labels.
        mix: seed of the other picture whose w replaces `mix_layers`; None for none.
        edits: in the order in which they are added.
    """

    left: str = "A"
    right: str = ""
    of: str = ""
    seed: int = 0
    photo: str = ""
    psi: float = 1.0
    cutoff: int | None = None
    noise: str = "const"
    noise_seed: int = 0
    label: str = ""
    vector: tuple[float, ...] = ()
    mix: int | None = None
    mix_layers: tuple[int, ...] = ()
    edits: tuple[Edit, ...] = ()

    def __post_init__(self) -> None:
        for name in ("seed", "noise_seed", "mix"):
            value = getattr(self, name)
            _require(value is None or 0 <= value <= LARGEST_SEED, name, value, f"from 0 to {LARGEST_SEED}")
        _require(abs(self.psi) <= LARGEST_PSI, "psi", self.psi, f"from -{LARGEST_PSI:g} to {LARGEST_PSI:g}")
        _require(self.cutoff is None or 0 <= self.cutoff <= MOST_LAYERS, "cutoff", self.cutoff, "a number of layers")
        _require(self.noise in NOISE, "noise", self.noise, f"one of {', '.join(NOISE)}")
        good = len(self.label) <= LONGEST_TEXT and self.label.isprintable()
        _require(good, "label", printable(self.label, 60), f"one line of at most {LONGEST_TEXT} characters")
        _require(len(self.vector) <= LONGEST_VECTOR, "vector", len(self.vector), f"{LONGEST_VECTOR} numbers at most")
        _require(all(abs(number) <= LARGEST_LABEL for number in self.vector), "vector", self.vector, "moderate numbers")
        _require(not (self.label and self.vector), "label", self.label, "left out where there is a vector")
        _require(len(self.edits) <= MOST_EDITS, "edits", len(self.edits), f"{MOST_EDITS} at most")
        for name in ("left", "right", "of", "photo"):
            text = getattr(self, name)
            _require(len(text) <= 40 and text.isascii(), name, text, "a name that this studio gave")
        _require(bool(self.left), "left", self.left, "the name of a network")

    # The address

    def query(self) -> str:
        """What differs from the defaults, as the query of an address."""
        pairs: list[tuple[str, Any]] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "edits":
                pairs += [("edit", edit) for edit in value]
            elif value != field.default:
                pairs.append((field.name, format_layers(value) if field.name == "mix_layers" else _text(value)))
        return urlencode(pairs, quote_via=quote, safe=":,@=")

    @classmethod
    def from_query(cls, query: str) -> "State":
        """The inverse of `query`; other keys are a mistake.

        Raises:
            UserError: one line on what is wrong.
        """
        _require(len(query) <= LONGEST_QUERY, "address", f"{len(query)} characters", f"{LONGEST_QUERY} at most")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=2 * MOST_EDITS)
        except ValueError as error:
            raise UserError(f"this address has no state that can be read ({error})") from error
        values: dict[str, Any] = {"edits": tuple(parse_edit(text) for key, text in pairs if key == "edit")}
        for key, text in pairs:
            if key == "edit":
                continue
            if key not in _READ or key in values:
                raise UserError(f"`{key[:40]}` in the address is {'twice' if key in values else 'no part of a state'}")
            try:
                values[key] = _READ[key](text)
            except ValueError as error:
                raise UserError(f"`{key}`={text[:60]} in the address is no {type_name(_TYPES[key])}") from error
        return cls(**values)

    # The preset file

    def to_json(self) -> dict[str, Any]:
        """Every field as a value of JSON."""
        edits = [{**dataclasses.asdict(edit), "layers": list(edit.layers)} for edit in self.edits]
        return {**vars(self), "vector": list(self.vector), "mix_layers": list(self.mix_layers), "edits": edits}

    @classmethod
    def from_json(cls, values: Any) -> "State":
        """The inverse of `to_json`; fields left out take their defaults.

        Raises:
            UserError: one line on what is wrong.
        """
        if not isinstance(values, dict):
            raise UserError("a state is an object of JSON, as in a preset file")
        for key, value in values.items():
            if key not in _TYPES:
                raise UserError(f"`{key[:40]}` is no part of a state")
            if not fits(value, _TYPES[key]):
                raise UserError(f"`{key}` should be {type_name(_TYPES[key])}")
        edits = values.get("edits", [])
        layers = values.get("mix_layers", [])
        _require(len(edits) <= MOST_EDITS, "edits", len(edits), f"{MOST_EDITS} at most")
        fields = {**values, "edits": tuple(map(_edit_from_json, edits)), "mix_layers": _layers(layers)}
        fields["vector"] = tuple(map(float, values.get("vector", [])))
        return cls(**{**fields, "psi": float(fields.get("psi", cls.psi))})

    # The command

    def command(self, network: str, photo_file: str = "") -> str:
        """The `generate.py` command that writes the same bytes as `/image.png`.

        Args:
            network: the file of the left network.
            photo_file: where the `projected_w.npz` of the photograph lies.
        """
        words = ["python", "generate.py", f"--network={network}"]
        if self.label:
            words.append(f"--class={self.label}")
        if self.vector:
            words.append(f"--label={_text(self.vector)}")
        if self.photo:
            words.append(f"--projected-w={photo_file}")
        elif self.mix is not None:
            words += [f"--mix-rows={self.seed}", f"--mix-cols={self.mix}"]
            words.append(f"--mix-layers={format_layers(self.mix_layers)}")
        else:
            words.append(f"--seeds={self.seed}")
        if self.psi != 1:
            words.append(f"--trunc={self.psi!r}")
        if self.cutoff is not None:
            words.append(f"--trunc-cutoff={self.cutoff}")
        if self.noise != "const":
            words.append(f"--noise-mode={self.noise}")
        if self.noise == "random":
            words.append(f"--noise-seed={self.noise_seed}")
        words += [f"--edit={edit}" for edit in self.edits]
        # One picture at once, as here: the last bit of a value can depend on how many are computed together.
        return shlex.join([*words, "--batch-size=1", "--outdir=out"])

    @property
    def file_name(self) -> str:
        """What generate.py calls the picture."""
        if self.photo:
            return "proj00.png"
        return f"seed{self.seed:04d}.png" if self.mix is None else f"{self.seed}-{self.mix}.png"

    def describe(self) -> str:
        """The picture in words, for those who do not see it."""
        parts = ["a projected photograph" if self.photo else f"seed {self.seed}"]
        if self.label:
            parts.append(f"class {printable(self.label, 80)}")
        if self.vector:
            shown = ", ".join(f"{number:g}" for number in self.vector[:8])
            parts.append(f"label {shown}{', ...' if len(self.vector) > 8 else ''}")
        if self.mix is not None and not self.photo:
            parts.append(f"layers {format_layers(self.mix_layers)} of seed {self.mix}")
        if self.psi != 1 and not self.photo:
            parts.append(f"truncation {self.psi:g}")
        parts += [f"{edit.kind} {edit.index} by {edit.strength:g}" for edit in self.edits[:4]]
        if len(self.edits) > 4:
            parts.append(f"{len(self.edits) - 4} more directions")
        parts.append({"const": "", "random": f"random noise {self.noise_seed}", "none": "no noise"}[self.noise])
        return ", ".join(filter(None, parts))


def read_json(text: str) -> Any:
    """Strict JSON from outside, without NaN, in any depth that is no attack.

    Raises:
        UserError: it is none.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UserError("this is no JSON") from error


def _refuse(name: str) -> None:
    raise ValueError(name)


def _require(condition: bool, name: str, value: Any, expected: str) -> None:
    if not condition:
        raise UserError(f"`{name}` is {str(value)[:60]}; it must be {expected}")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return repr(value) if isinstance(value, float) else str(value)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(_finite, text.split(",")))


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError(text)
    return int(text)


def _layers(values: list[int]) -> tuple[int, ...]:
    _require(len(values) <= MOST_LAYERS, "layers", len(values), f"{MOST_LAYERS} at most")
    _require(all(0 <= layer < MOST_LAYERS for layer in values), "layers", values, f"below {MOST_LAYERS}")
    return tuple(sorted(set(values)))


def _edit_from_json(value: dict[str, Any]) -> Edit:
    types = {"kind": str, "index": int, "strength": float, "layers": list[int]}
    if set(value) != set(types) or not all(fits(value[key], hint) for key, hint in types.items()):
        raise UserError("an edit is an object with kind, index, strength and layers")
    edit = Edit(value["kind"], value["index"], float(value["strength"]), _layers(value["layers"]))
    return parse_edit(str(edit)[:200])  # which knows the ranges


_TYPES = {
    "left": str, "right": str, "of": str, "seed": int, "photo": str, "psi": float, "cutoff": int | None, "noise": str,
    "noise_seed": int, "label": str, "vector": list[float], "mix": int | None,
    "mix_layers": list[int], "edits": list[dict],
}  # fmt: skip
_READ = {
    "left": str, "right": str, "of": str, "seed": _whole, "photo": str, "psi": _finite, "cutoff": _whole, "noise": str,
    "noise_seed": _whole, "label": str, "vector": _numbers, "mix": _whole, "mix_layers": parse_layers,
}  # fmt: skip
