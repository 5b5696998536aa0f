"""A network's trainable parameters as one flat tensor, and what works on it: Adam, the EMA, gradients.

One tensor means one kernel or one collective where there would be hundreds: for the optimizer, the
average, the check for non-finite values and the exchange of gradients between processes.
"""

from collections.abc import Callable
from typing import Any

import torch

from torch_utils.host_copy import LaggingValue
from training.config.schema import AdamOptions


class FlatParameters:
    """All parameters of `module` as views of one float32 tensor, and their gradients of another.

    Build it after the module has its final device; afterwards the parameters must be written in place.
    """

    def __init__(self, module: torch.nn.Module, with_grad: bool = True) -> None:
        parameters = list(module.parameters())
        self.data = torch.cat([p.detach().reshape(-1) for p in parameters]).contiguous()
        self.grad = torch.zeros_like(self.data) if with_grad else None
        offset = 0
        for parameter in parameters:
            part = slice(offset, offset + parameter.numel())
            parameter.data = self.data[part].view(parameter.shape)
            if self.grad is not None:
                parameter.grad = self.grad[part].view(parameter.shape)
            offset = part.stop


class LazyAdam:
    """Adam (Kingma and Ba 2015) on flat parameters, corrected for lazy regularisation.

    With a regularisation phase every n steps an extra update is made per n ordinary ones, so the
    learning rate and betas are those of n / (n + 1) of a step (Karras et al. 2020b, appendix B). A step
    whose gradient is not finite, or so large that its square is not, changes nothing.

    Attributes:
        skipped: steps left out since the start of the run; skipped_in_row: the current run of them.
            Both are tensors, so that counting does not wait for the device.
    """

    def __init__(self, flat: FlatParameters, options: AdamOptions, reg_interval: int | None) -> None:
        ratio = reg_interval / (reg_interval + 1) if reg_interval else 1.0
        self._flat = flat
        self._parameter = torch.nn.Parameter(flat.data)
        self._parameter.grad = flat.grad
        betas = tuple(float(beta) ** ratio for beta in options.betas)
        self._adam = torch.optim.Adam(
            [self._parameter], lr=options.lr * ratio, betas=betas, eps=options.eps, fused=True
        )
        # The fused kernel leaves everything as it is where found_inf is 1; torch.amp.GradScaler uses it the same way.
        self._adam.grad_scale = None
        self._adam.found_inf = torch.zeros([], device=flat.data.device)
        self.skipped = torch.zeros([], device=flat.data.device)
        self.skipped_in_row = torch.zeros([], device=flat.data.device)
        self._seen = LaggingValue()

    def skipped_in_row_seen(self) -> float:
        """`skipped_in_row` as far as the host knows it; does not wait for the device."""
        return self._seen.read(self.skipped_in_row)

    @property
    def gradient(self) -> torch.Tensor:
        """The flat gradient that `backward` adds to."""
        return self._flat.grad

    @torch.no_grad()
    def step(self, all_reduce: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Sum the gradient over all processes, update, and return the gradient's norm (0-dim)."""
        gradient = all_reduce(self._flat.grad)
        norm = torch.linalg.vector_norm(gradient)
        bad = (~torch.isfinite(norm)).float()
        self.skipped += bad
        self.skipped_in_row = (self.skipped_in_row + 1) * bad
        self._adam.found_inf.copy_(bad)
        self._adam.step()
        return norm

    def zero_grad(self) -> None:
        """Forget the gradient in place; the parameters' `.grad` go on being views of it."""
        self._flat.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Both moments, the step count and the counts of skipped steps."""
        moments = self._adam.state.get(self._parameter, {})
        return {"adam": dict(moments), "skipped": self.skipped, "skipped_in_row": self.skipped_in_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        device = self._flat.data.device
        moments = {name: value.to(device) for name, value in state["adam"].items()}
        if any(value.shape not in ((), self._flat.data.shape) for value in moments.values()):
            raise ValueError("moments of another shape than the parameters")
        if moments:
            self._adam.state[self._parameter] = moments
        self.skipped = state["skipped"].to(device)
        self.skipped_in_row = state["skipped_in_row"].to(device)


class GeneratorAverage:
    """Exponential moving average of the generator's parameters; buffers are copied.

    Args:
        ema_kimg: the half-life in thousands of images.
        rampup: limits the half-life to this fraction of the images seen so far; None for no limit.
    """

    def __init__(
        self, G_ema: torch.nn.Module, G: torch.nn.Module, G_flat: FlatParameters, ema_kimg: float, rampup: float | None
    ) -> None:
        self._flat, self._source = FlatParameters(G_ema, with_grad=False), G_flat
        self._buffers = list(zip(G_ema.buffers(), G.buffers(), strict=True))
        self._ema_kimg, self._rampup = ema_kimg, rampup

    @torch.no_grad()
    def update(self, nimg: int, batch_size: int) -> None:
        """Move the average after a step that ended a batch when `nimg` images had been seen before it."""
        half_life = self._ema_kimg * 1000
        if self._rampup is not None:
            half_life = min(half_life, nimg * self._rampup)
        beta = 0.5 ** (batch_size / max(half_life, 1e-8))
        self._flat.data.lerp_(self._source.data, 1 - beta)
        for average, current in self._buffers:
            average.copy_(current)
