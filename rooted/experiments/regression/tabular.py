"""The four tabular data sets of the paper's section 4.2, as arrays, from UCI's files.

"Specheart" is either of two sets of one study: SPECTF (44 counts) or SPECT (22 binary features derived
from them). Both are here, because the paper does not say which it used.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnnlib import UserError
from dnnlib.checksum import check_sha256
from dnnlib.download import download

UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/"

# File name: folder in UCI's archive, SHA-256.
FILES = {
    "wine.data": ("wine/", "6be6b1203f3d51df0b553a70e57b8a723cd405683958204f96d23d7cd6aea659"),
    "ionosphere.data": ("ionosphere/", "46d52186b84e20be52918adb93e8fb9926b34795ff7504c24350ae0616a04bbd"),
    "madelon_train.data": ("madelon/MADELON/", "0b6e37711efdc7ab74250c51e7d6966bffd9f8f2b0e9971e882c3a7a380c2314"),
    "madelon_train.labels": ("madelon/MADELON/", "10bffcc3b017467cb810d326b931951adcbde2b4870faf981da2991993b48689"),
    "madelon_valid.data": ("madelon/MADELON/", "cb9a46475147de1a58d9f15ef4c318e5b85de344e0f9ab92626fa446aa815dc9"),
    "madelon_valid.labels": ("madelon/", "fbac32fa87fac41ab731994a1c824e7b25396069bff6df242c01fe240fcb34dc"),
    "SPECTF.train": ("spect/", "1f3fb7052c18acf4083a6daa4330dfba33bf59dcfaacd8f3a3ddb620780a5a14"),
    "SPECTF.test": ("spect/", "b43197a7444b53d24a8a96bffb9fbe7daa3d66eedbf1fa9de61b504f9e31f581"),
    "SPECT.train": ("spect/", "af2b85125608c105ca61bcfdaad8db1d10b692866f4ecb74e4fd0138feef93d2"),
    "SPECT.test": ("spect/", "dbb54ebc0c38c702da416406c691c77399177c0909e45c2079ddb7c82303a267"),
}


SMALLEST_CLASS = 5  # the convergence study makes five stratified folds, the inner validation two of what is left


@dataclass(frozen=True)
class Table:
    """A classification data set: `x` float64 (N, D), `y` int64 (N) in 0 .. classes - 1."""

    name: str
    x: np.ndarray
    y: np.ndarray
    classes: int


@dataclass(frozen=True)
class Source:
    """Where the files of UCI's format are, and whether their checksums are compared.

    folder: a local folder with UCI's file names; None: UCI's archive, kept in `dnnlib.download`'s cache.
    """

    folder: Path | None
    verify: bool = True

    def path(self, name: str) -> Path:
        """The file of that name, fetched if need be. UserError where it is missing or not the one expected."""
        url, expected = UCI + FILES[name][0] + name, FILES[name][1]
        if self.folder is None:
            return download(url, sha256=expected if self.verify else None)
        path = self.folder / name
        if not path.is_file():
            raise UserError(f"--data-dir: no file {path} (SHA-256 {expected}); get it from {url}")
        check_sha256(path, expected if self.verify else None, f"get it again from {url}, or pass --no-verify")
        return path

    def numbers(self, name: str, columns: int, delimiter: str | None = ",") -> np.ndarray:
        """The whole file as float64 (N, columns), finite in float32 too; UserError where it is not such a table."""
        path = self.path(name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # how numpy says that there is nothing in the file
                values = np.loadtxt(path, delimiter=delimiter, ndmin=2)
        except (ValueError, UserWarning) as error:
            what = " ".join(str(error).split())
            raise UserError(f"{path} is not a table of numbers in UCI's format: {what}; {self.remedy(name)}") from error
        return self.checked(name, values, columns)

    def checked(self, name: str, values: np.ndarray, columns: int) -> np.ndarray:
        """`values` of that file; UserError where they are not (N, columns) finite numbers, N at least 1."""
        path = self.path(name)
        if values.ndim != 2 or not len(values) or values.shape[1] != columns:
            found = " x ".join(map(str, values.shape))
            raise UserError(f"{path} has {found} numbers, not {columns} in each row; {self.remedy(name)}")
        if not (np.abs(values) < np.finfo(np.float32).max).all():  # false for nan too
            raise UserError(f"{path} has numbers that are not finite or too large; {self.remedy(name)}")
        return values

    def labels(self, name: str, values: np.ndarray, known: tuple[int, ...]) -> np.ndarray:
        """The index (N) of each label in `known`; UserError for another label."""
        wrong = values[~np.isin(values, known)]
        if len(wrong):
            known_text = ", ".join(map(str, known))
            raise UserError(f"{self.path(name)} has the label {wrong[0]:g}, not {known_text}; {self.remedy(name)}")
        return np.searchsorted(known, values)

    def remedy(self, name: str) -> str:
        """Where to get the file."""
        return f"get it again from {UCI}{FILES[name][0]}{name}"


def _wine(source: Source) -> tuple[np.ndarray, np.ndarray]:
    if source.folder is None:
        from sklearn.datasets import load_wine

        return load_wine(return_X_y=True)
    values = source.numbers("wine.data", 14)
    return values[:, 1:], source.labels("wine.data", values[:, 0], (1, 2, 3))


def _ionosphere(source: Source) -> tuple[np.ndarray, np.ndarray]:
    path = source.path("ionosphere.data")
    try:
        rows = [line.split(",") for line in path.read_text().split()]
        x, y = np.array([row[:-1] for row in rows], float), np.array([{"b": 0, "g": 1}[row[-1]] for row in rows])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} is not UCI's table, 34 numbers, then g or b ({error}); {source.remedy('ionosphere.data')}"
        ) from error
    return source.checked("ionosphere.data", x, 34), y


def _madelon(source: Source) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for part in ("train", "valid"):
        data, labels = f"madelon_{part}.data", f"madelon_{part}.labels"
        x, y = source.numbers(data, 500, None), source.numbers(labels, 1, None)[:, 0]
        if len(x) != len(y):
            raise UserError(f"{source.path(data)} has {len(x)} rows, {labels} {len(y)}; {source.remedy(data)}")
        parts.append((x, source.labels(labels, y, (-1, 1))))
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _spect(name: str, features: int) -> Callable[[Source], tuple[np.ndarray, np.ndarray]]:
    def load(source: Source) -> tuple[np.ndarray, np.ndarray]:
        files = [f"{name}.{part}" for part in ("train", "test")]
        parts = [source.numbers(file, 1 + features) for file in files]
        y = [source.labels(file, values[:, 0], (0, 1)) for file, values in zip(files, parts, strict=True)]
        return np.concatenate(parts)[:, 1:], np.concatenate(y)

    return load


CLASSES = {"wine": 3, "ionosphere": 2, "madelon": 2, "spectf": 2, "spect": 2}
LOADERS: dict[str, Callable[[Source], tuple[np.ndarray, np.ndarray]]] = {
    "wine": _wine,
    "ionosphere": _ionosphere,
    "madelon": _madelon,
    "spectf": _spect("SPECTF", 44),
    "spect": _spect("SPECT", 22),
}


def load(name: str, source: Source) -> Table:
    """The data set of that name, a key of `LOADERS`; UserError where a file is missing or wrong."""
    x, y = LOADERS[name](source)
    y = np.asarray(y).astype(np.int64)
    smallest = int(np.bincount(y, minlength=CLASSES[name]).min())
    if smallest < SMALLEST_CLASS:
        files = [file for file in FILES if file.lower().replace("_", ".").split(".")[0] == name]
        raise UserError(
            f"{' and '.join(str(source.path(file)) for file in files)}: the smallest class has {smallest} samples, "
            f"needed are {SMALLEST_CLASS}; {source.remedy(files[0])}"
        )
    return Table(name, np.asarray(x, np.float64), y, CLASSES[name])
