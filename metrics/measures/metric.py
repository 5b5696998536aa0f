"""What all metrics have in common: a name with a grammar, needs, and numbers. A metric is one file of this room.

A name says what, of how many generated images, against which real ones:

    <stem><N>[_full|_train]                 on the metric's own detector: fid50k_full, kid5k_train, pr50k3, is50k
    <kind>_<detector>[_<N>][_full|_train]   on any other that can be named: fd_dinov2, kd_dinov2_10k_train

`<N>` is the number of generated images, `50k` = 50,000; for the real set see `RealSet`. The names of StyleGAN2-ADA
(fid50k_full, kid50k, pr50k3_full, is50k, ppl2_wend, ...) keep its meaning.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from dnnlib import UserError
from metrics.detectors.registry import DETECTORS
from metrics.features.collection import Collection
from metrics.features.moments import statistics_device
from metrics.features.real_images import RealSet
from metrics.measures.inputs import Inputs, interval

COUNT = r"(?P<count>[1-9]\d*k?)"
REAL_SET = r"(?P<real_set>_full|_train)?"
DETECTOR = r"(?P<detector>[a-z][a-z0-9]*)"

FIRST_REALS = 50_000
LEAST_RESAMPLED = 10  # of fewer images a resample may repeat a single one, of which no distance can be computed

Numbers = dict[str, float]
"""By key: the metric's name, or its name and what is meant (`pr50k3_precision`)."""
Replicates = dict[str, np.ndarray]
"""The numbers [B] of B bootstrap resamples by the same keys; empty without a bootstrap."""


@dataclass(frozen=True)
class Outcome:
    """What a metric gives.

    Attributes:
        numbers: by key.
        intervals: of 95 %, by the same keys; those of a bootstrap unless the metric has its own.
        facts: what else belongs into the record, as JSON values.
        picture: a PNG that shows what the numbers are about, if there is one.
        warning: a line for the user, if the numbers are a reason.
    """

    numbers: Numbers
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    picture: bytes | None = None
    warning: str | None = None


@dataclass(frozen=True)
class Metric(ABC):
    """What one name asks for. A subclass says how its names look, what it needs, and how its numbers are computed.

    Attributes:
        name: as given; also the key, or the stem of the keys, of its results.
        num_gen: number of generated images.
        detector: the key of the detector whose features it uses, "file" for a user's, None without any.
        real_set: which real images, None where it looks at generated images only.

    Class attributes:
        grammar: regular expressions of its names, with the groups COUNT, REAL_SET, DETECTOR and its own.
        kind: begins its names on detectors that are named in them; `stem` those on `home`, its own detector.
        listed: its names worth listing; those on detectors that can be named are added.
        aliases: short names and what they stand for.
        higher_is_better: whether larger numbers are the better ones.
        tells_copying: whether it tells copies from images of one's own, not good images from bad ones.
        least: the least number of images of each kind.
        default_count: where the name holds no count.
        most_real: the largest number of real images it takes, None for any.
        has_real_set, needs_generator: whether it compares with real images; whether stored images do not suffice.
        needs_one_size: whether it looks at pixels, so that all images must have one size.
        only_set: the real set of all its names, which then have no suffix.
        keeps_generated, keeps_real: whether it needs the features themselves; otherwise it needs only their moments.
    """

    name: str
    num_gen: int
    detector: str | None
    real_set: RealSet | None

    grammar: ClassVar[tuple[str, ...]]
    kind: ClassVar[str]
    stem: ClassVar[str]
    home: ClassVar[str | None] = None
    listed: ClassVar[tuple[str, ...]] = ()
    aliases: ClassVar[Mapping[str, str]] = {}
    higher_is_better: ClassVar[bool] = False
    tells_copying: ClassVar[bool] = False
    least: ClassVar[int] = 2
    default_count: ClassVar[int] = 50_000
    most_real: ClassVar[int | None] = None
    has_real_set: ClassVar[bool] = True
    needs_generator: ClassVar[bool] = False
    needs_one_size: ClassVar[bool] = False
    only_set: ClassVar[RealSet | None] = None
    keeps_generated: ClassVar[bool] = True
    keeps_real: ClassVar[bool] = True

    @abstractmethod
    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """The numbers, and those of `inputs.resamples` resamples; called in the main process alone."""

    # The name.

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The metric of this class that a name asks for; None if it is no such name."""
        for pattern in cls.grammar:
            match = re.fullmatch(pattern, cls.aliases.get(name, name))
            if match is None:
                continue
            parts = match.groupdict()
            count, suffix, detector = (parts.pop(part, None) for part in ("count", "real_set", "detector"))
            if detector is not None and not (detector in DETECTORS and DETECTORS[detector].in_names):
                continue
            real_set: RealSet = {"_full": "full", "_train": "train"}.get(suffix, "first")
            if detector is not None and suffix is None:
                real_set = "full"  # EDM2 and Stein et al. compare with the whole training set
            return cls(
                name,
                parse_count(count) if count else cls.default_count,
                detector or cls.home,
                (cls.only_set or real_set) if cls.has_real_set else None,
                **cls.own_parts(parts),
            )
        return None

    @classmethod
    def own_parts(cls, parts: dict[str, str | None]) -> dict[str, Any]:
        """The values of a subclass's own attributes from the groups of its own in the name."""
        return {}

    def full_name(self, space: str) -> str:
        """The name with count and real set spelt out; `space` is a detector's key, or the hash of a detector's file."""
        suffix = "" if self.only_set or self.real_set in (None, "first") else f"_{self.real_set}"
        head = self.stem if space == self.home else f"{self.kind}_{space}_"
        return f"{head}{self.count_in_name()}{suffix}"

    def count_in_name(self) -> str:
        """The count, with what follows it."""
        return format_count(self.num_gen)

    def with_file(self, sha256: str) -> Self:
        """The same measure on the features of a user's detector file: its name carries the file's hash.

        `fid5k_train` becomes `fd_1a2b3c4d_5k_train`, as a Frechet distance on other features is no FID.
        """
        return replace(self, name=self.full_name(sha256[:8]), detector="file")

    def with_num_gen(self, num_gen: int) -> Self:
        """The same measure on another number of images, said in the name (`fid50k_full` of 2,000: `fid2k_full`)."""
        if num_gen == self.num_gen:
            return self
        other = replace(self, num_gen=num_gen)
        return replace(other, name=other.full_name(other.detector))

    # What it needs.

    @property
    def max_real(self) -> int | None:
        """At most so many real images, None for no limit."""
        return FIRST_REALS if self.real_set == "first" else self.most_real if self.real_set else None

    def counts(self, num_real: int | None, num_fake: int | None) -> tuple[int | None, int]:
        """How many real and generated images it uses, of `num_real` and (of stored ones) `num_fake`."""
        return num_real, self.num_gen

    def check_counts(self, num_real: int | None, num_gen: int, resamples: int) -> None:
        """Refuse sets too small for the metric's definition, or for intervals.

        Raises:
            UserError: with the number that it needs.
        """
        needed = max(self.least, LEAST_RESAMPLED if resamples else 0)
        if min(num_gen, num_gen if num_real is None else num_real) < needed:
            shown = f"{num_gen} generated" + ("" if num_real is None else f" and {num_real} real")
            raise UserError(
                f"{self.name}{' with `bootstrap`' if resamples else ''} needs at least {needed} images of each kind, "
                f"there are {shown}; give more, or choose another of `metrics`"
            )

    def want(self, images: Collection, num_real: int | None, num_gen: int) -> None:
        """Ask for what is to be kept of the images, before any is made."""
        resampled = images.settings.bootstrap > 0
        images.features(self.detector).want(num_gen, rows=resampled or self.keeps_generated)
        if self.real_set is not None:
            store = images.real_features(self.detector, self.real_set)
            store.want(num_real, rows=resampled or self.keeps_real)

    def gather(self, images: Collection, num_real: int | None, num_gen: int) -> tuple[Any, Any]:
        """What is known of the real and of the generated images, for `numbers`; called in all processes."""
        real = None if self.real_set is None else images.real_features(self.detector, self.real_set)
        return real, images.features(self.detector)

    # What it gives.

    def inputs(self, images: Collection, num_real: int | None, num_gen: int) -> Inputs:
        """What the numbers are computed from; all processes call it."""
        settings = images.settings
        real, generated = self.gather(images, num_real, num_gen)
        return Inputs(
            num_real or 0,
            num_gen,
            real,
            generated,
            images.detectors.get(self.detector),
            settings.seed,
            settings.bootstrap,
            statistics_device(settings.device),
        )

    def outcome(self, inputs: Inputs) -> Outcome:
        """The numbers, and their intervals if `inputs.resamples` > 0."""
        numbers, replicates = self.numbers(inputs)
        if inputs.resamples == 0:
            return Outcome(numbers)
        return Outcome(numbers, {key: interval(numbers[key], values) for key, values in replicates.items()})


def parse_count(text: str) -> int:
    """`50k` -> 50000, `300` -> 300."""
    return int(text[:-1]) * 1000 if text.endswith("k") else int(text)


def format_count(count: int) -> str:
    """50000 -> `50k`, 2345 -> `2345`."""
    return f"{count // 1000}k" if count % 1000 == 0 and count else str(count)
