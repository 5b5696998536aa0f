"""A user's TorchScript file as a detector."""

from pathlib import Path

import torch

from dnnlib import UserError, last_line
from dnnlib.checksum import file_sha256
from metrics.detectors.detector import Detector, Network
from torch_utils.torchscript import load_torchscript


def open_torchscript(path: Path, device: torch.device) -> Detector:
    """A user's TorchScript file: `forward(images)` takes uint8 [N, 3, H, W] and gives features [N, D].

    For the Inception score its features are read as class logits; for path lengths it gets float32 images in
    [0, 255], and the squared difference of features is the distance. A file whose `forward` has arguments
    `return_features` or `return_lpips`, as those of StyleGAN2-ADA have, is called with them set.
    """
    digest = file_sha256(path)
    module, arguments = load_torchscript(path, "detector", device)
    options = {"return_features": True} if "return_features" in arguments else {}
    lpips_options = {"resize_images": False, "return_lpips": True} if "return_lpips" in arguments else options

    def run(images: torch.Tensor, **options: bool) -> torch.Tensor:
        try:
            features = module(images, **options)
        except Exception as error:  # what its code raises, and what torch raises in it
            shape = " x ".join(map(str, images.shape))
            raise UserError(
                f"`detector`={path} fails on images of shape {shape} ({last_line(error)}); it must take them and "
                "give features [N, D]; if memory is short, lower `batch_size`"
            ) from error
        if not isinstance(features, torch.Tensor):
            raise UserError(f"`detector`={path} gives a {type(features).__name__}; it must give a tensor [N, D]")
        return features

    def distance(img0: torch.Tensor, img1: torch.Tensor) -> torch.Tensor:
        difference = run(img0, **lpips_options) - run(img1, **lpips_options)
        return difference.square().flatten(1).sum(dim=1)

    return Detector(
        f"TorchScript {digest[:8]}",
        path,
        digest,
        "none: the file's own",
        Network(
            features=lambda images: run(images, **options),
            logits=None if options else lambda features: features,
            distance=distance,
        ),
    )
