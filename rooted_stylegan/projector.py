"""Find latents that show given pictures: `python projector.py --network=FILE --target=PICTURE --outdir=DIR`."""

if __name__ == "__main__":
    raise SystemExit(
        "error: the command is `rooted-stylegan project`, or `python projector.py` at the top of a checkout"
    )

from dataclasses import dataclass

import click

from dnnlib.cli import SEED, Command, door
from dnnlib.options import option, takes_options
from generation.options import NetworkOptions
from projection.schedule import NOISE_INITS, SPACES

TARGETS, HOW = "What to project, and where to", "How"
COUNT = click.IntRange(min=1)


# fmt: off
@dataclass(frozen=True, kw_only=True)
class Options(NetworkOptions):
    """What to project, and how."""

    targets: tuple[str, ...] = option(
        TARGETS, "Pictures, or folders of them; repeatable. They are cropped in the middle to the network's shape; "
        "faces need --align.",
        unit="PICTURE|DIR", flags=("--target",), required=True, multiple=True)
    align: bool = option(
        TARGETS, "Show the largest face of each picture as FFHQ does, for networks of such faces (extra faces).",
        bool, False)
    outdir: str = option(TARGETS, "For the files; with several targets a folder for each.", unit="DIR", required=True)
    save_video: bool | None = option(TARGETS, "proj.mp4 of the optimisation.", bool, unset="if ffmpeg is there")
    video_every: int = option(TARGETS, "Steps from frame to frame.", COUNT, 4, unit="STEPS")
    space: str = option(
        HOW, "One latent for all layers, or one for each: closer, but edits worse.", click.Choice(SPACES), "w")
    noise_init: str = option(
        HOW, "Noise maps to start from: the network's own, or random ones.", click.Choice(NOISE_INITS), "network")
    num_steps: int = option(HOW, "Of the optimisation.", COUNT, 1000, unit="STEPS")
    pti_steps: int = option(
        HOW, "Then fit the network itself (pivotal tuning), for each target; 350 is usual.", click.IntRange(min=0), 0,
        unit="STEPS")
    distance: str = option(
        HOW, "What is minimised: LPIPS (VGG16), features of EfficientNet-Lite0, pixels, or TorchScript; auto takes the "
        "first that is here and fetches nothing.", str, "auto", unit="auto|lpips|lite0|pixel|FILE")
    seed: int = option(HOW, "Of everything random.", SEED, 303, unit="SEED")
    batch: int = option(
        HOW, "Targets optimised at once; the result does not depend on it.", COUNT, 8, unit="PICTURES")
# fmt: on


@click.command(cls=Command)
@takes_options(Options)
@door
def main(options: Options) -> None:
    """Project pictures into the latent space of a trained network.

    For each target, --outdir gets target.png, proj.png, comparison.png, projected_w.npz (key w, for
    generate.py --projected-w), projected_noise.safetensors, loss.csv, loss.png, projection.json, proj.mp4
    and, after pivotal tuning, tuned-network.safetensors. The step with the smallest distance is kept.

    \b
    Examples:
      python projector.py --network=network.safetensors --target=face.png --outdir=out
      python projector.py --network=network.safetensors --target=faces/ --space=w+ --distance=pixel --outdir=out
    """  # noqa: D301 - click wants the character \\b
    from projection.command import find

    find(options)
