"""Read a number from the device without waiting for it."""

import torch


class LaggingValue:
    """The value of a 0-dim tensor, as the host last saw it.

    On the CPU it is exact. On CUDA each call starts a copy and answers with the last one that has
    arrived, so that the host never waits; the answer lags behind by a step or two.
    """

    def __init__(self) -> None:
        self._seen = 0.0
        self._copy: torch.Tensor | None = None
        self._arrived: torch.cuda.Event | None = None

    def read(self, tensor: torch.Tensor) -> float:
        """The value of `tensor`, or of what was passed when the last finished copy began."""
        if tensor.device.type == "cpu":
            return float(tensor)
        if self._copy is not None and self._arrived.query():
            self._seen, self._copy = float(self._copy), None
        if self._copy is None:
            self._copy = torch.empty((), dtype=tensor.dtype, pin_memory=True)
            self._copy.copy_(tensor.detach(), non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        return self._seen
