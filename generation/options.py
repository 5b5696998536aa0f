"""Options that the commands share which load a network to draw with it."""

from dataclasses import dataclass

import torch

from dnnlib import UserError
from dnnlib.cli import NumberList
from dnnlib.options import NETWORK, NetworkFileOptions, option
from generation.latents import label_vector, parse_class
from training.snapshot import Snapshot, load_snapshot


# fmt: off
@dataclass(frozen=True, kw_only=True)
class NetworkOptions(NetworkFileOptions):
    """Which network, and which class of it."""

    network: str = option(
        NETWORK, "Snapshot or official pickle: file, https:// or hf://user/repo/file.", unit="FILE|URL", required=True)
    class_text: str | None = option(
        NETWORK, "Of a conditional network: index, name, or cat=0.7,dog=0.3.", unit="CLASS", flags=("--class",))
    label: tuple[float, ...] | None = option(
        NETWORK, "Of a conditional network: the label itself, as 0,1,1 or 0.37.", NumberList(), unit="NUMBERS")

    def load(self) -> Snapshot:
        """The network's file."""
        return load_snapshot(self.network, sha256=self.network_sha256, offline=self.offline)

    def label_for(self, snapshot: Snapshot) -> torch.Tensor | None:
        """The label c [1, c_dim] that was asked for; None for an unconditional network."""
        c_dim = snapshot.generator.c_dim
        if self.label is None:
            return parse_class(self.class_text, c_dim, snapshot.metadata.get("class_names"))
        if self.class_text is not None:
            raise UserError("`label` and `class_text` both say what to draw; leave one of them out")
        return label_vector(self.label, c_dim)
# fmt: on
