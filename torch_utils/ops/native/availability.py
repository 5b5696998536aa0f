"""Whether the kernels work on a device: found out once, said once."""

import functools
import logging
import threading
from collections.abc import Callable

import torch
from torch import Tensor

from torch_utils.ops import bias_act_torch, scaling_torch, upfirdn2d_torch
from torch_utils.ops.activation import Options
from torch_utils.ops.geometry import Geometry
from torch_utils.ops.native import bias_act as native_bias_act
from torch_utils.ops.native import scaling as native_scaling
from torch_utils.ops.native import upfirdn2d as native_upfirdn2d
from torch_utils.ops.native.errors import NativeError
from torch_utils.ops.native.kernels import Kernels, Launcher

_log = logging.getLogger("torch_utils.ops")


class Availability:
    """The kernels of one device, or the reason why they are not used.

    Attributes:
        failure: one line; None while nothing went wrong. Once set it stays, so nothing is tried again on each call.
    """

    def __init__(self, device_index: int):
        self.failure: str | None = None
        self._device_index = device_index
        self._launcher: Launcher | None = None
        self._lock = threading.Lock()

    def works(self) -> bool:
        """Whether the kernels can be used; the first call compiles, runs and checks them.

        The check waits for the device, which a stream whose work is being captured does not allow: there the answer
        is no for as long as the kernels were never run before.
        """
        if self._launcher is None and self.failure is None and not torch.cuda.is_current_stream_capturing():
            with self._lock:
                if self._launcher is None and self.failure is None:
                    self._prepare()
        return self._launcher is not None and self.failure is None

    def launcher(self) -> Launcher:
        """Starts the kernels.

        Raises:
            NativeError: they cannot be used.
        """
        if not self.works() or self._launcher is None:
            reason = self.failure or "they must run once before a graph is captured"
            raise NativeError(f"the CUDA kernels are not usable: {reason}")
        return self._launcher

    def fail(self, error: Exception) -> None:
        """Give up on the kernels of this device, with one line of notice."""
        if self.failure is None:
            self.failure = " ".join(str(error).split())[:300]
            _log.warning("operators: using PyTorch expressions, as the CUDA kernels are not usable: %s", self.failure)

    def _prepare(self) -> None:
        try:
            launcher = Kernels(self._device_index)
            with torch.cuda.device(self._device_index), torch.no_grad():
                check_results(launcher, torch.device("cuda", self._device_index))
            self._launcher = launcher
        except (NativeError, OSError, RuntimeError) as error:
            self.fail(error)


@functools.cache
def of_device(device_index: int) -> Availability:
    """The one record for a CUDA device."""
    return Availability(device_index)


def run_or_fall_back(
    device: torch.device, native: Callable[[Launcher], Tensor], expressions: Callable[[], Tensor], *, insist: bool
) -> Tensor:
    """Run a kernel; where it does not compile or load, say so once and use the expressions from then on.

    Raises:
        NativeError: it does not, and `insist` is set.
    """
    available = of_device(device.index)
    if not insist and not available.works():
        return expressions()
    try:
        launcher = available.launcher()
        with torch.cuda.device(device):
            return native(launcher)
    except NativeError as error:
        if insist:
            raise
        available.fail(error)
        return expressions()


def check_results(launcher: Launcher, device: torch.device) -> None:
    """Compare small results of the kernels with the PyTorch expressions in float64, clear of TensorFloat-32.

    Raises:
        NativeError: they differ.
    """
    x = torch.linspace(-3, 3, 2 * 8 * 9 * 10, device=device).reshape(2, 8, 9, 10)
    f = torch.tensor([[1.0, 2, 3, 4], [2, 4, 6, 9], [3, 7, 9, 12]], device=device) / 60
    b = torch.linspace(-1, 1, 8, device=device)
    options = Options(1, "lrelu", 0.2, 2**0.5, 2.0)
    for layout in (torch.contiguous_format, torch.channels_last):
        images = x.contiguous(memory_format=layout)
        for up, down in (((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2)), ((5, 1), (1, 3))):
            geometry = Geometry(up, down, (2, 1, 3, -1))
            found = native_upfirdn2d.run(launcher, images, f, geometry, False, 1.5)
            expected = upfirdn2d_torch.apply(images.double(), f, geometry, False, 1.5)
            _compare(found, expected, f"upfirdn2d with up={up}, down={down}")
        y = native_bias_act.run(launcher, 0, images, b, None, None, options)
        _compare(y, bias_act_torch.apply(images.double(), b.double(), options), "bias_act")
        slope = native_bias_act.run(launcher, 1, y, None, images, None, options)
        _compare(slope, bias_act_torch.slope_at_result(images.double(), y.double(), options), "the slope of bias_act")
        for part in (
            images,
            images[..., :8].contiguous(memory_format=layout),
        ):  # without and with whole packs in a plane
            s, noise = part[:, :, 3, 4], part[:, :1]
            scaled = native_scaling.scale(launcher, part, s, noise)
            _compare(scaled, scaling_torch.scale(part.double(), s, noise), "scale_channels")
            sums = native_scaling.products(launcher, part, scaled)
            _compare(sums, scaling_torch.products(part.double(), scaled), "channel_products")


def _compare(found: Tensor, expected: Tensor, what: str) -> None:
    if not torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-4):
        raise NativeError(f"{what}: results differ by {float((found - expected).abs().max()):.3g} from PyTorch's")
