"""Which judges see which damage: six damages of growing size on 200 photographs, judged against 1,200 others.

    python dataset_tool.py --source=stanford-dogs-subset.zip --dest=dogs64.zip --transform=center-crop --resolution=64
    python -m benchmarks.damages --data=faces64.zip --foreign=dogs64.zip --out=docs/results/damages

In each of 40 draws the same 200 photographs are damaged more and more. A judge sees a step if its value is worse after
the step than before; the table says in which share of the draws it is.
"""

import io
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from dnnlib import write_json
from dnnlib.cli import Command, door
from dnnlib.files import make_folder
from metrics.features.moments import Moments
from metrics.measures.frechet import frechet_distance_to_features
from metrics.measures.kernel import kernel_distance
from metrics.measures.sliced_features import sliced_wasserstein_of_features
from metrics.measures.swd import PatchStore, sliced_wasserstein
from torch_utils.machine.environment import provenance
from torch_utils.published.efficientnet_lite import LITE0, efficientnet_lite, in_network_range, read_lite
from training.dataset import ImageDataset

JUDGED, REAL, POOL = 200, 1200, 800
SWD_DIRECTIONS = 64  # of 512, as each of the draws scatters far more than they do
CLEAN = "none"
ENOUGH = 0.95


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def _noise(picture: Image.Image, deviation: float) -> Image.Image:
    pixels = np.asarray(picture).astype(float)
    random = np.random.default_rng(int(pixels.sum()))
    return Image.fromarray(
        (pixels + deviation * random.normal(size=pixels.shape)).clip(0, 255).round().astype(np.uint8)
    )


PER_PICTURE: dict[str, tuple[Callable[[Image.Image, float], Image.Image], tuple[float, ...]]] = {
    "Gaussian blur, radius": (lambda picture, r: picture.filter(ImageFilter.GaussianBlur(r)), (0.6, 1, 2)),
    "noise, deviation of 255": (_noise, (4, 8, 16, 32)),
    "JPEG, quality": (_jpeg, (80, 50, 30, 15, 5)),
    "colour taken away, share": (lambda picture, share: ImageEnhance.Color(picture).enhance(1 - share), (0.25, 0.5, 1)),
}
PER_SET = {"distinct images": (100, 50, 20, 10), "foreign images, share": (0.05, 0.1, 0.2, 0.4)}


def steps() -> list[tuple[str, tuple[float, ...]]]:
    """The damages with their growing sizes."""
    return [*((name, sizes) for name, (_, sizes) in PER_PICTURE.items()), *PER_SET.items()]


class Bank:
    """Pictures of the pool, clean and damaged, and the foreign ones: as pixels and as features."""

    def __init__(self, pool: torch.Tensor, foreign: torch.Tensor, extract: Callable[[torch.Tensor], torch.Tensor]):
        self._pixels = {CLEAN: pool, "foreign": foreign}
        for name, (damage, sizes) in PER_PICTURE.items():
            for size in sizes:
                self._pixels[f"{name} {size}"] = damaged(pool, lambda p, d=damage, s=size: d(p, s))
        self._features = {key: extract(images) for key, images in self._pixels.items()}

    def drawn(self, key: str, rows: torch.Tensor, foreign: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels and features of 200 pictures `rows` of the pool with one damage."""
        name, _, size = key.rpartition(" ")
        if name == "distinct images":
            rows = rows[: int(size)].repeat(JUDGED // int(size))
        pixels, features = (bank.get(key, bank[CLEAN])[rows] for bank in (self._pixels, self._features))
        if name == "foreign images, share":
            count = round(float(size) * JUDGED)
            strangers = [bank["foreign"][foreign[:count]] for bank in (self._pixels, self._features)]
            pixels, features = (
                torch.cat([new, old[count:]]) for new, old in zip(strangers, (pixels, features), strict=True)
            )
        return pixels, features


def damaged(images: torch.Tensor, damage: Callable[[Image.Image], Image.Image]) -> torch.Tensor:
    """Uint8 RGB [N, 3, H, W], one by one through a function of pictures."""
    pictures = (Image.fromarray(image) for image in images.permute(0, 2, 3, 1).numpy())
    return torch.from_numpy(np.stack([np.asarray(damage(picture)) for picture in pictures])).permute(0, 3, 1, 2)


def patches(images: torch.Tensor) -> PatchStore:
    """Of all the images."""
    store = PatchStore(0, len(images))
    for start in range(0, len(images), 64):
        store.add(start, store.compute(images[start : start + 64], start))
    return store


def swd(real: PatchStore, judged: PatchStore, count: int) -> float:
    """The mean over the levels."""
    pairs = ((real.level(level, count), judged.level(level, count)) for level in real.levels())
    return float(np.mean([sliced_wasserstein(a, b, seed=0, directions=SWD_DIRECTIONS) for a, b in pairs]))


def measure(bank: Bank, real: torch.Tensor, extract: Callable, draws: int) -> dict[str, dict[str, list[float]]]:
    """Values by judge and damage, one for each draw."""
    features = extract(real)
    moments = Moments.of(features)
    random = np.random.default_rng(0)
    found: dict[str, dict[str, list[float]]] = {judge: {} for judge in ("fd_lite0", "kd_lite0", "sw_lite0", "swd")}
    for draw in range(draws):
        rows, strangers, others = (
            torch.from_numpy(random.permutation(size)[:JUDGED]) for size in (POOL, POOL, len(real))
        )
        real_patches = patches(real[others])
        for key in [CLEAN, *(f"{name} {size}" for name, sizes in steps() for size in sizes)]:
            images, judged = bank.drawn(key, rows, strangers)
            values = {
                "fd_lite0": frechet_distance_to_features(moments, judged),
                "kd_lite0": float(kernel_distance(features, judged, subsets=6)[0]),
                "sw_lite0": sliced_wasserstein_of_features(features, judged, seed=0),
                "swd": swd(real_patches, patches(images), JUDGED),
            }
            for judge, value in values.items():
                found[judge].setdefault(key, []).append(value)
        click.echo(f"draw {draw + 1} of {draws}", err=True)
    return found


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Markdown: means, and where a step is not seen in 95 % of the draws the share in which it is."""
    lines = ["| damage | size | " + " | ".join(found) + " |", "|---" * (2 + len(found)) + "|"]
    lines.append("| none | | " + " | ".join(f"{_mean(values[CLEAN])}" for values in found.values()) + " |")
    for name, sizes in steps():
        before = CLEAN
        for size in sizes:
            key = f"{name} {size}"
            cells = []
            for values in found.values():
                seen = float(np.mean(np.array(values[key]) > np.array(values[before])))
                cells.append(_mean(values[key]) + ("" if seen >= ENOUGH else f" ({100 * seen:.0f} %)"))
            lines.append(f"| {name} | {size:g} | " + " | ".join(cells) + " |")
            before = key
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3g}"


@click.command(cls=Command)
@click.option("--data", required=True, metavar="PATH", help="2,000 photographs of one subject, RGB.")
@click.option("--foreign", required=True, metavar="PATH", help="800 photographs of another one, of the same size.")
@click.option("--out", required=True, metavar="STEM", help="Writes STEM.json and STEM.md.")
@click.option("--size", default=112, show_default=True, help="Pixels that the network sees.")
@click.option("--draws", default=40, show_default=True, type=click.IntRange(min=2))
@door
def main(data: str, foreign: str, out: str, size: int, draws: int) -> None:
    """Measure and write the table."""
    started = time.process_time()
    photographs, strangers = (ImageDataset(path) for path in (data, foreign))
    order = np.random.default_rng(0).permutation(len(photographs))
    real, pool = photographs.images(order[:REAL]), photographs.images(order[REAL : REAL + POOL])
    network = efficientnet_lite(read_lite(LITE0, "this benchmark"))

    def extract(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([network(in_network_range(part, size)) for part in images.split(64)])

    bank = Bank(pool, strangers.images(np.arange(POOL)), extract)
    click.echo(f"features of all damages: {time.process_time() - started:.0f} s of processor time", err=True)
    found = measure(bank, real, extract, draws)
    record = {
        "data": {"name": photographs.name, "content_hash": photographs.content_hash()},
        "foreign": {"name": strangers.name, "content_hash": strangers.content_hash()},
        "size": size,
        "draws": draws,
        "machine": provenance("cpu", "numpy", "scipy", "pillow", "timm"),
        "values": {
            judge: {key: [round(v, 5) for v in rows] for key, rows in values.items()} for judge, values in found.items()
        },
    }
    stem = Path(out)
    make_folder(stem.parent, "--out")
    write_json(stem.with_suffix(".json"), record, indent=1)
    stem.with_suffix(".md").write_text(table(found) + "\n")
    click.echo(table(found))


if __name__ == "__main__":
    main()
