"""Draw the figures of the theory page: `python -m rooted.experiments.plot_losses`.

losses.png: value and gradient of both rooted forms against the logit. players.png: what the default generator
minimises against the best discriminator, and its gradient.
"""

from pathlib import Path

import click
import matplotlib
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from dnnlib import atomic_write
from dnnlib.cli import Command, door
from rooted import AdversarialLoss, parse_adversarial_loss
from rooted.functional import rooted_nll

ROOTS = (1, 2, 5, 11)
COLORS = ("#b2182b", "#e08214", "#4393c3", "#2166ac")
GAMES = {
    "ce": ("cross-entropy", "k-"),
    "rlo:k=2:form=convex": ("convex 2", "C0-"),
    "rlo:k=2": ("bounded 2, the last sound root", "C2-"),
    "rlo:k=1.2:g=ce": ("bounded 1.2, generator cross-entropy", "C4-"),
    "rlo:k=1.7": ("bounded 1.7, not convex", "C1--"),
    "rlo:k=1.2": ("bounded 1.2, unsound", "C3--"),
}
PULLS = ("rlo:k=2:form=convex", "rlo:k=11:form=convex", "ce", "rlo:k=11", "rlo:k=2")


def curves(form: str, k: float, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and derivative of the loss of a positive sample at each logit, float64 (N)."""
    z = logits.clone().requires_grad_(True)
    value = rooted_nll(-F.logsigmoid(z), k=k, form=form)
    (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


def minimised(loss: AdversarialLoss, ratios: torch.Tensor) -> torch.Tensor:
    """f(u) of the non-saturating generator: its loss at density ratios u = a / b, where the best logit is known."""
    return loss.generator(loss.for_discriminator.alpha * ratios.log())


def pull(loss: AdversarialLoss, logits: torch.Tensor) -> torch.Tensor:
    """Size of the derivative of the generator's loss at each logit."""
    d = logits.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss.generator(d).sum(), d)
    return slope.abs()


def draw_players(path: Path) -> None:
    """Write the figure (PNG) of what the generator minimises and of its gradient."""
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    u = torch.linspace(1e-4, 3.5, 1500, dtype=torch.float64)
    for words, (name, style) in GAMES.items():
        loss = parse_adversarial_loss(words)
        left.plot(u, minimised(loss, u) - minimised(loss, torch.ones_like(u)), style, label=name)
    left.set(xlabel="u = data density / generator density", ylabel="f(u) − f(1)", ylim=(-1.0, 1.6))
    left.set_title("what the default generator minimises, E f(u)")
    d = torch.linspace(-14, 4, 721, dtype=torch.float64)
    for words, color in zip(PULLS, ("#b2182b", "#e08214", "k", "#4393c3", "#2166ac"), strict=True):
        loss = parse_adversarial_loss(words)
        name = "cross-entropy" if words == "ce" else f"{loss.form} {loss.k:g}"
        right.semilogy(d, pull(loss, d), color=color, label=name)
    right.set(xlabel="logit of a generated image", ylabel="|d loss / d logit|", ylim=(1e-3, 1e3))
    right.set_title("the generator's gradient")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=9)
    _save(figure, path)


def draw(path: Path) -> None:
    """Write the figure (PNG) of the losses of one sample."""
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
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    from matplotlib import pyplot as plt

    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)


@click.command(cls=Command, help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/images/losses.png"))
@click.option("--players", type=click.Path(path_type=Path), default=Path("docs/images/players.png"))
@door
def main(out: Path, players: Path) -> None:
    """Draw the figures."""
    matplotlib.use("Agg")
    for draw_one, path in ((draw, out), (draw_players, players)):
        draw_one(path)
        click.echo(f"wrote {path}")


if __name__ == "__main__":
    main()
