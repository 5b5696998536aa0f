"""Draw value and gradient of both rooted forms against the logit: `python -m rooted.experiments.plot_losses`."""

from pathlib import Path

import click
import matplotlib
import torch
import torch.nn.functional as F

from dnnlib import atomic_write
from dnnlib.cli import Command, door
from rooted.functional import rooted_nll

ROOTS = (1, 2, 5, 11)
COLORS = ("#b2182b", "#e08214", "#4393c3", "#2166ac")


def curves(form: str, k: float, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and derivative of the loss of a positive sample at each logit, float64 (N)."""
    z = logits.clone().requires_grad_(True)
    value = rooted_nll(-F.logsigmoid(z), k=k, form=form)
    (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


def draw(path: Path) -> None:
    """Write the figure (PNG) of the theory page."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    z = torch.linspace(-6, 6, 481, dtype=torch.float64)
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), sharex=True, layout="constrained")
    for column, form in enumerate(("convex", "bounded")):
        top, bottom = axes[:, column]
        for k, color in zip(ROOTS, COLORS, strict=True):
            value, slope = curves(form, k, z)
            top.plot(z, value, color=color, label=f"k = {k}")
            bottom.plot(z, slope, color=color)
        top.plot(z, F.softplus(-z), "k--", label="cross-entropy (k → ∞)")
        bottom.plot(z, -torch.sigmoid(-z), "k--")
        top.set(title=f"{form}, m = k", ylim=(-0.3, 12 if form == "convex" else 6.5))
        bottom.set(xlabel="logit z of a positive sample", ylim=(-6, 0.3) if form == "convex" else (-1.05, 0.05))
        for axis in (top, bottom):
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("loss (centred)")
    axes[1, 0].set_ylabel("d loss / d z")
    axes[0, 1].legend(frameon=False)
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)


@click.command(cls=Command, help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/images/losses.png"), show_default=True)
@door
def main(out: Path) -> None:
    """Draw the figure."""
    draw(out)
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
