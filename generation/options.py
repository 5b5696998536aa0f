"""Options that the commands share which load a network to draw with it."""

from dataclasses import dataclass

from dnnlib.options import NETWORK, NetworkFileOptions, option
from training.snapshot import Snapshot, load_snapshot


# fmt: off
@dataclass(frozen=True, kw_only=True)
class NetworkOptions(NetworkFileOptions):
    """Which network, and which class of it."""

    network: str = option(
        NETWORK, "Snapshot or official pickle: file, https:// or hf://user/repo/file.", unit="FILE|URL", required=True)
    class_text: str | None = option(
        NETWORK, "Of a conditional network: index, name, or cat=0.7,dog=0.3.", unit="CLASS", flags=("--class",))

    def load(self) -> Snapshot:
        """The network's file."""
        return load_snapshot(self.network, sha256=self.network_sha256, offline=self.offline)
# fmt: on
