"""Means and covariances of features that are too many to keep."""

import numpy as np
import torch


def statistics_device(device: torch.device) -> torch.device:
    """Where the statistics of features from `device` are computed: the CPU where the device has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


class Moments:
    """Count, sum and second moments of rows added block by block, in float64.

    Sums are taken about the mean of the rows added first, so that a common offset costs no digits.

    Args:
        num_features: D.
        device: where to accumulate, see `statistics_device`.
    """

    def __init__(self, num_features: int, device: torch.device | str = "cpu") -> None:
        self._device = statistics_device(torch.device(device))
        self.count = 0
        self._origin = torch.zeros(num_features, dtype=torch.float64, device=self._device)
        self._sum = torch.zeros(num_features, dtype=torch.float64, device=self._device)
        self._outer = torch.zeros(num_features, num_features, dtype=torch.float64, device=self._device)

    @classmethod
    def of(cls, features: torch.Tensor) -> "Moments":
        """The moments of features [N, D]."""
        moments = cls(features.shape[1], features.device)
        for rows in features.split(4096):
            moments.add(rows)
        return moments

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> "Moments":
        """The inverse of `state`."""
        moments = cls(len(state["sum"]))
        moments.count = int(state["count"][0])
        moments._origin, moments._sum, moments._outer = (
            torch.from_numpy(state[key]) for key in ("origin", "sum", "outer")
        )
        return moments

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for the cache: count, and float64 origin [D], sum [D] and sum of outer products [D, D]."""
        sums = {"origin": self._origin, "sum": self._sum, "outer": self._outer}
        return {"count": np.array([self.count]), **{key: tensor.cpu().numpy() for key, tensor in sums.items()}}

    def add(self, features: torch.Tensor) -> None:
        """Add rows [N, D]."""
        rows = features.to(self._device, torch.float64)
        if self.count == 0:
            self._origin = rows.mean(dim=0)
        rows = rows - self._origin
        self.count += rows.shape[0]
        self._sum += rows.sum(dim=0)
        self._outer.addmm_(rows.T, rows)

    def mean(self) -> torch.Tensor:
        """Mean [D], float64, on the CPU."""
        return (self._origin + self._sum / self.count).cpu()

    def covariance(self) -> torch.Tensor:
        """Covariance [D, D] divided by N, float64, on the CPU."""
        offset = (self._sum / self.count).cpu()
        return self._outer.cpu() / self.count - torch.outer(offset, offset)
