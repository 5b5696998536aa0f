"""The names of metrics: a small grammar, parsed into what has to be computed.

    fid<N>[_full|_train]        kid<N>[...]     fid_inf<N>[...]     pr<N>3[...]     dc<N>5[...]
    is<N>                       swd[<N>][...]   fd_dinov2[_<N>][...]                kd_dinov2[_<N>][...]
    ppl2_wend  ppl_zfull  ppl_wfull  ppl_zend  ppl_wend  (optionally followed by _<N>)

`<N>` is the number of generated images, `50k` = 50,000. The suffix names the real set, see `RealSet`. The
names of StyleGAN2-ADA (`fid50k_full`, `kid50k`, `pr50k3_full`, `is50k`, `ppl2_wend`, ...) keep its meaning.
"""

import difflib
import re
from dataclasses import dataclass, replace
from typing import Literal

from dnnlib import UserError

RealSet = Literal["full", "train", "first"]
"""full: the whole dataset, without --subset and without flips; train: the images as training sees them,
with the subset and the flips; first (no suffix): the first 50,000 of the whole dataset, with flips if the
training data is mirrored."""

Family = Literal["inception", "vgg16", "lpips", "dinov2", "file", "none"]

FIRST_REALS = 50_000
REFERENCE_NAMES = (
    *("fid50k_full", "kid50k_full", "pr50k3_full", "ppl2_wend", "is50k"),
    *("fid50k", "kid50k", "pr50k3", "ppl_zfull", "ppl_wfull", "ppl_zend", "ppl_wend"),
)
OWN_NAMES = (
    *("fid5k_train", "fid_inf50k_full", "kid5k_train", "pr5k3_train", "dc", "dc10k5_full"),
    *("fd_dinov2", "kd_dinov2", "swd", "swd2k"),
)
HIGHER_IS_BETTER = ("pr", "dc", "is")


@dataclass(frozen=True)
class MetricSpec:
    """What one metric name asks for.

    Attributes:
        name: the name as given; also the key, or the stem of the keys, of its results.
        kind: fd (Frechet distance), fd_inf, kd (kernel distance), pr, dc, is, ppl or swd.
        family: the detector whose features it uses, "file" for a user's, "none" for swd.
        num_gen: number of generated images; an upper limit for swd, which uses as many as there are real ones.
        real_set: which real images, None where the metric looks at generated images only.
        max_real: at most so many real images, None for no limit.
        k: the neighbour whose distance is the radius (pr, dc), 0 elsewhere.
        space, whole_path, crop: path length only: interpolate in "z" or "w", along the path or at its
            start, cropped to the face region or not.
    """

    name: str
    kind: str
    family: Family
    num_gen: int
    real_set: RealSet | None
    max_real: int | None = None
    k: int = 0
    space: Literal["z", "w", ""] = ""
    whole_path: bool = False
    crop: bool = False

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is the better one."""
        return self.kind in HIGHER_IS_BETTER

    def with_detector(self, file_hash: str) -> "MetricSpec":
        """The same measure on the features of a user's detector file: its name carries the file's hash.

        `fid5k_train` becomes `fd_1a2b3c4d_5k_train`, as a Frechet distance on other features is no FID.
        """
        if self.family == "none":
            return self
        return replace(self, name=_format_name(replace(self, family=file_hash[:8])), family="file")

    def with_num_gen(self, num_gen: int) -> "MetricSpec":
        """The same measure on another number of images, said in the name (`fid50k_full` of 2,000: `fid2k_full`)."""
        if num_gen == self.num_gen or self.kind == "swd":  # the number in swd's name is a limit
            return self
        other = replace(self, num_gen=num_gen)
        return replace(other, name=_format_name(other))


_COUNT = r"(?P<count>[1-9]\d*k?)"
_SET = r"(?P<set>_full|_train)?"
_PATTERNS = (
    (re.compile(rf"(?P<kind>fid_inf|fid|kid){_COUNT}{_SET}"), "inception"),
    (re.compile(rf"(?P<kind>fd|kd)_dinov2(_{_COUNT})?{_SET}"), "dinov2"),
    (re.compile(rf"(?P<kind>pr|dc)(?P<count>[1-9]\d*k|[1-9]\d*(?=_))_?(?P<k>[1-9]\d?){_SET}"), "vgg16"),
    (re.compile(rf"(?P<kind>is){_COUNT}"), "inception"),
    (re.compile(rf"(?P<kind>ppl)(?P<nocrop>2)?_(?P<space>[zw])(?P<along>full|end)(_{_COUNT})?"), "lpips"),
    (re.compile(rf"(?P<kind>swd){_COUNT}?{_SET}"), "none"),
)
_KINDS = {"fid": "fd", "fid_inf": "fd_inf", "kid": "kd"}
_REFERENCE_KINDS = {kind: name for name, kind in _KINDS.items()}
_ALIASES = {"dc": "dc10k5_full"}
_DEFAULT_COUNTS = {"swd": 16_384}  # Karras et al. 2018, section 5
_MAX_REALS = {"kd": 1_000_000, "pr": 200_000, "dc": 200_000}  # as StyleGAN2-ADA limits them


def parse_metric(name: str) -> MetricSpec:
    """Parse one metric name.

    Raises:
        UserError: no such metric; the message holds the nearest names.

    Example:
        >>> parse_metric("fid5k_train").num_gen, parse_metric("fid5k_train").real_set
        (5000, 'train')
    """
    for pattern, family in _PATTERNS:
        match = pattern.fullmatch(_ALIASES.get(name, name))
        if match:
            return _spec(name, family, match.groupdict())
    known = list_names()
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known[:5]
    raise UserError(
        f"no metric is called '{name}'; the nearest are {', '.join(near)} (--metrics; any count works: fid5k_train)"
    )


def _spec(name: str, family: Family, parts: dict[str, str | None]) -> MetricSpec:
    kind = _KINDS.get(parts["kind"], parts["kind"])
    real_set: RealSet | None = {"_full": "full", "_train": "train", None: "first"}[parts.get("set")]
    if kind in ("is", "ppl"):
        real_set = None
    elif family == "dinov2" and real_set == "first":
        real_set = "full"  # EDM2 and Stein et al. compare with the whole training set
    count = parse_count(parts["count"]) if parts.get("count") else _DEFAULT_COUNTS.get(kind, 50_000)
    return MetricSpec(
        name=name,
        kind=kind,
        family=family,
        num_gen=count,
        real_set=real_set,
        max_real=FIRST_REALS if real_set == "first" else _MAX_REALS.get(kind) if real_set else None,
        k=int(parts.get("k") or 0),
        space=parts.get("space") or "",
        whole_path=parts.get("along") == "full",
        crop=kind == "ppl" and not parts.get("nocrop"),
    )


def _format_name(spec: MetricSpec) -> str:
    """The full name of a spec, its count and real set spelt out; `family` may be the hash of a detector file."""
    count = format_count(spec.num_gen)
    if spec.k:
        count += f"{spec.k}" if count.endswith("k") else f"_{spec.k}"
    suffix = "" if spec.real_set in (None, "first") else f"_{spec.real_set}"
    if spec.kind == "ppl":
        path = f"ppl{'' if spec.crop else 2}_{spec.space}{'full' if spec.whole_path else 'end'}_{count}"
        return path if spec.family == "lpips" else f"{path}_{spec.family}"
    if spec.family == "inception" or (spec.kind in ("pr", "dc") and spec.family == "vgg16"):
        return f"{_REFERENCE_KINDS.get(spec.kind, spec.kind)}{count}{suffix}"
    return f"{spec.kind}_{spec.family}_{count}{suffix}"


def parse_count(text: str) -> int:
    """`50k` -> 50000, `300` -> 300."""
    return int(text[:-1]) * 1000 if text.endswith("k") else int(text)


def format_count(count: int) -> str:
    """50000 -> `50k`, 2345 -> `2345`."""
    return f"{count // 1000}k" if count % 1000 == 0 and count else str(count)


def is_valid_name(name: str) -> bool:
    """Whether `compute` knows a metric of this name."""
    try:
        parse_metric(name)
    except UserError:
        return False
    return True


def list_names() -> list[str]:
    """The reference's names, then the most useful of our own; the grammar allows any other count."""
    return [*REFERENCE_NAMES, *OWN_NAMES]


def check_name(name: str) -> None:
    """Raise `UserError` with the nearest names if there is no metric of this name."""
    parse_metric(name)


def higher_is_better(name: str) -> bool:
    """Whether larger values of a metric are the better ones (precision, recall, density, coverage, Inception score).

    Takes the names of results, too, which may carry a detector file's hash.
    """
    return name.startswith(HIGHER_IS_BETTER)
