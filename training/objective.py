"""What each training phase computes and back-propagates.

Gmain and Dmain are the adversarial loss, Greg is path-length regularisation (Karras et al. 2020b,
section 3.2) and Dreg is R1 (Mescheder et al. 2018) and R2, the same on generated images. The adversarial loss is
known here only as an object whose methods give one value per sample.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from training.config.schema import RegularizationOptions
from training.lecam import LeCam

Report = Callable[[str, torch.Tensor], None]
ReplaceReals = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class AdversarialLoss(Protocol):
    """One loss per sample from the discriminator's logits."""

    pair: bool

    def real(self, logits: torch.Tensor) -> torch.Tensor: ...  # noqa: D102
    def fake(self, logits: torch.Tensor) -> torch.Tensor: ...  # noqa: D102
    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor: ...  # noqa: D102
    def generator(self, logits: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor: ...  # noqa: D102


class Objective:
    """Losses of one micro-batch; every method back-propagates `weight` times its mean loss.

    Args:
        G, D: the networks; augment: images -> images, applied before every look of D.
        adversarial: the adversarial loss.
        options: weights of the regularisation.
        report: called with a statistic's name and its values.
        observe_signs: called with sign(D(real)), which steers ADA.
        lecam: LeCam regularisation of Dmain, or none.
        replace_reals: (real, labels, generated, labels) -> what D is shown as real; None for the real images.
    """

    def __init__(
        self,
        *,
        G: torch.nn.Module,
        D: torch.nn.Module,
        augment: Callable[[torch.Tensor], torch.Tensor],
        adversarial: AdversarialLoss,
        options: RegularizationOptions,
        report: Report,
        observe_signs: Callable[[torch.Tensor], None],
        lecam: LeCam | None = None,
        replace_reals: ReplaceReals | None = None,
    ) -> None:
        self.G, self.D, self.augment = G, D, augment
        self.adversarial, self.options = adversarial, options
        self.report, self.observe_signs = report, observe_signs
        self.lecam, self._replace_reals = lecam, replace_reals
        device = G.mapping.w_avg.device
        self.pl_mean = torch.zeros([], device=device)
        self._pl_lengths = torch.zeros(2, device=device)
        self._w_sums = torch.zeros_like(G.mapping.w_avg)
        self._w_count = torch.zeros(1, device=device)

    def Gmain(
        self,
        weight: float,
        z: torch.Tensor,
        c: torch.Tensor,
        real: torch.Tensor | None = None,
        real_c: torch.Tensor | None = None,
    ) -> None:
        """Adversarial loss of the generator; the real images are looked at for pairs only."""
        images, _ = self._generate(z, c)
        logits = self.D(self.augment(images), c)
        real_logits = None
        if self.adversarial.pair:
            with torch.no_grad():
                real_logits = self.D(self.augment(real), real_c)
        loss = self.adversarial.generator(logits, real_logits)
        self.report("Loss/scores/fake", logits)
        self.report("Loss/signs/fake", logits.sign())
        self.report("Loss/G/loss", loss)
        (loss.mean() * weight).backward()

    def Greg(self, weight: float, z: torch.Tensor, c: torch.Tensor, **_: Any) -> None:
        """Path-length penalty, on a part of the micro-batch.

        The running mean that a micro-batch sees is the last step's, moved by its own lengths; the step's
        mean over all micro-batches replaces it in `finish_path_lengths`. So the number of processes does not matter.
        """
        size = max(len(z) // self.options.pl_batch_shrink, 1)
        images, ws = self._generate(z[:size], c[:size])
        lengths = path_lengths(images, ws)
        mean = self.pl_mean.lerp(lengths.detach().mean(), self.options.pl_decay)
        self._pl_lengths += torch.stack([lengths.detach().sum(), lengths.new_full([], float(size))])
        penalty = (lengths - mean).square()
        loss = penalty * self.options.pl_weight
        self.report("Loss/pl_penalty", penalty)
        self.report("Loss/G/reg", loss)
        (loss.mean() * weight).backward()

    def Dmain(self, weight: float, z: torch.Tensor, c: torch.Tensor, real: torch.Tensor, real_c: torch.Tensor) -> None:
        """Adversarial loss of the discriminator, fakes first."""
        images = self._generate_only(z, c)
        fake_logits = self.D(self.augment(images), c)
        self.report("Loss/scores/fake", fake_logits)
        self.report("Loss/signs/fake", fake_logits.sign())
        if self.adversarial.pair:
            fake_loss = fake_logits.new_zeros([])  # its graph is kept until there are the real images to pair it with
        else:
            fake_loss = self.adversarial.fake(fake_logits)
            ((fake_loss.mean() + self._lecam("fake", fake_logits)) * weight).backward()

        if self._replace_reals is not None:
            # The next image of the micro-batch: an image paired with itself would say nothing.
            real, real_c = self._replace_reals(real, real_c, images.roll(1, dims=0), c.roll(1, dims=0))
        real_logits = self.D(self.augment(real), real_c)
        self._observe_real(real_logits)
        if self.adversarial.pair:
            loss = self.adversarial.discriminator(real_logits, fake_logits)
            regularisation = self._lecam("fake", fake_logits) + self._lecam("real", real_logits)
        else:
            loss, regularisation = self.adversarial.real(real_logits), self._lecam("real", real_logits)
        self.report("Loss/D/loss", fake_loss.detach() + loss.detach())
        ((loss.mean() + regularisation) * weight).backward()

    def Dreg(
        self,
        weight: float,
        real: torch.Tensor,
        real_c: torch.Tensor,
        z: torch.Tensor | None = None,
        c: torch.Tensor | None = None,
    ) -> None:
        """R1 on augmented real images, R2 on augmented generated ones; the gradient is taken through the augmentation.

        Latents are needed for R2, and where generated images are shown as real.
        """
        total = torch.zeros_like(real[:, 0, 0, 0])
        if self.options.r1_gamma > 0:
            if self._replace_reals is not None:
                real, real_c = self._replace_reals(real, real_c, self._generate_only(z, c), c)
            total += self._gradient_penalty("r1", self.options.r1_gamma, weight, real, real_c)
        if self.options.r2_gamma > 0:
            total += self._gradient_penalty("r2", self.options.r2_gamma, weight, self._generate_only(z, c), c)
        self.report("Loss/D/reg", total)

    def _gradient_penalty(
        self, name: str, gamma: float, weight: float, images: torch.Tensor, c: torch.Tensor
    ) -> torch.Tensor:
        """Back-propagate gamma / 2 times the squared gradient norm of D at `images`; the loss of each, detached."""
        images = images.detach().requires_grad_(True)
        logits = self.D(self.augment(images), c)
        if name == "r1":
            self._observe_real(logits)
        penalty = gradient_penalty(images, logits)
        loss = penalty * (gamma / 2)
        self.report(f"Loss/{name}_penalty", penalty)
        (loss.mean() * weight).backward()
        return loss.detach()

    def _lecam(self, kind: str, logits: torch.Tensor) -> torch.Tensor:
        """LeCam's mean penalty of the logits of "real" or "fake" images, 0 where it is not used."""
        if self.lecam is None:
            return logits.new_zeros([])
        penalty = (self.lecam.real if kind == "real" else self.lecam.fake)(logits)
        self.report("Loss/lecam", penalty)
        return penalty.mean()

    def _observe_real(self, logits: torch.Tensor) -> None:
        signs = logits.detach().sign()
        self.report("Loss/scores/real", logits)
        self.report("Loss/signs/real", signs)
        self.observe_signs(signs)

    def _generate(self, z: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and their ws, with style mixing; one cut-off for the whole micro-batch."""
        ws = self.G.mapping(z, c)
        self._w_sums += ws.detach()[:, 0].sum(dim=0)
        self._w_count += len(ws)
        if self.options.style_mixing_prob > 0:
            other = self.G.mapping(torch.randn_like(z), c)
            ws = mix_styles(ws, other, self.options.style_mixing_prob)
        return self.G.synthesis(ws, noise_mode="random"), ws

    @torch.no_grad()
    def _generate_only(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return self._generate(z, c)[0]

    @torch.no_grad()
    def finish_w_avg(self, all_reduce: Callable[[torch.Tensor], torch.Tensor], w_avg_beta: float = 0.995) -> None:
        """Move w_avg by the mean w of a phase that generates images, over all micro-batches of all processes.

        Beta, and that Gmain, Greg and Dmain (and Dreg, where it generates images) each move it, is as in StyleGAN2-ADA
        (Karras et al. 2020a), whose mapping network does so at every call in training but the second one of style
        mixing. StyleGAN3 has 0.998 once per step.
        """
        total = all_reduce(torch.cat([self._w_sums, self._w_count]))
        _move(self.G.mapping.w_avg, total[:-1] / total[-1], 1 - w_avg_beta)
        self._w_sums.zero_()
        self._w_count.zero_()

    @torch.no_grad()
    def finish_path_lengths(self, all_reduce: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Move the path-length mean by the mean length over all micro-batches of a Greg phase."""
        total = all_reduce(self._pl_lengths.clone())
        _move(self.pl_mean, total[0] / total[1], self.options.pl_decay)
        self._pl_lengths.zero_()

    def tensors(self) -> list[torch.Tensor]:
        """The sums that the phases add to in place."""
        own = [self._pl_lengths, self._w_sums, self._w_count]
        return own if self.lecam is None else own + self.lecam.tensors()

    def state_dict(self) -> dict[str, Any]:
        """The running path-length mean; everything else is empty between steps."""
        return {"pl_mean": self.pl_mean.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the running path-length mean."""
        self.pl_mean.copy_(state["pl_mean"])


def _move(mean: torch.Tensor, value: torch.Tensor, weight: float) -> None:
    """Move a running mean towards `value`, unless that is not finite: a skipped step must not spoil the mean."""
    mean.copy_(torch.where(torch.isfinite(value).all(), mean.lerp(value, weight), mean))


def mix_styles(ws: torch.Tensor, other: torch.Tensor, probability: float) -> torch.Tensor:
    """With `probability`, take the layers from a uniform cut-off in [1, num_ws) on from `other`.

    Both are [N, num_ws, w_dim]; one draw for all samples, on their device, without waiting for it.
    """
    num_ws = ws.shape[1]
    cutoff = 1 + (torch.rand([], device=ws.device) * (num_ws - 1)).floor()
    cutoff = torch.where(torch.rand([], device=ws.device) < probability, cutoff, float(num_ws))
    layers = torch.arange(num_ws, device=ws.device).reshape(1, -1, 1)
    return torch.where(layers < cutoff, ws, other)


def path_lengths(images: torch.Tensor, ws: torch.Tensor) -> torch.Tensor:
    """Lengths |J^T y| for random images y (Karras et al. 2020b, eq. 4): [N] float32, differentiable.

    `images` [N, C, H, W] must depend on `ws` [N, num_ws, w_dim]; the square is averaged over layers.
    """
    noise = torch.randn_like(images) / (images.shape[2] * images.shape[3]) ** 0.5
    (gradient,) = torch.autograd.grad((images * noise).sum(), [ws], create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def gradient_penalty(images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Squared gradient norm of the logits with respect to the images: [N] float32, differentiable."""
    (gradient,) = torch.autograd.grad(logits.sum(), [images], create_graph=True)
    return gradient.square().sum(dim=[1, 2, 3])
