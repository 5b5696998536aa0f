"""Classifiers of Tables 2 and 3 of arXiv 2310.03890, through timm, with stems for small images."""

import difflib

from torch import nn

from dnnlib import UserError
from rooted.experiments.classification.fast_model import WIDTHS, FastNet

# Short name: timm's name and arguments for images of that many pixels. Patches of 4 as in the paper.
SHORT = {
    "vit-s": "vit_small_patch16_224",
    "vit-b": "vit_base_patch16_224",
    "vit-l": "vit_large_patch16_224",
    "swin-t": "swin_tiny_patch4_window7_224",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnet18-narrow": "resnet18",
}


def create(name: str, classes: int, size: int, pretrained: bool) -> nn.Module:
    """A classifier (N, 3, size, size) to logits (N, classes).

    Up to 64 pixels, ResNets get the CIFAR stem (3 x 3, no pooling), ViTs patches of 4 and Swin patches of 2; with
    `pretrained` timm's weights are fetched and the model keeps its own stem. Other names go to timm as they are.

    "fast" and "fast-wide" are `FastNet`, whose first layer is still to be whitened.

    Raises:
        UserError: no such model, or the weights cannot be fetched.
    """
    if name in WIDTHS:
        if pretrained:
            raise UserError(f"--pretrained: there are no weights of {name}; leave it out")
        return FastNet(WIDTHS[name], classes)
    try:
        import timm
    except ImportError as error:
        raise UserError("timm is not installed; pip install 'rooted-stylegan[experiments]'") from error
    full = SHORT.get(name, name)
    if full not in timm.list_models():
        known = dict.fromkeys([*WIDTHS, *SHORT, *timm.list_models()])  # a few names are in both
        near = difflib.get_close_matches(name, known, n=3) or list(SHORT)
        raise UserError(f"--model={name}: unknown model; nearest: {', '.join(near)}")
    options: dict = {}
    small = size <= 64 and not pretrained
    if full.startswith(("vit_", "swin_")):
        options["img_size"] = size
    if small and full.startswith("vit_"):
        options["patch_size"] = 4
    if small and full.startswith("swin_"):
        options.update(patch_size=2, window_size=4)
    if name == "resnet18-narrow":
        options["channels"] = (16, 32, 64, 128)
    try:
        model = timm.create_model(full, pretrained=pretrained, num_classes=classes, **options)
    except (RuntimeError, OSError, AssertionError) as error:
        raise UserError(f"--model={name}: cannot be built for {size} pixels ({error})") from error
    if small and full.startswith("resnet"):
        model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        if name != "resnet18-narrow":  # the one for the CPU keeps its pooling, at a quarter of the cost
            model.maxpool = nn.Identity()
    return model
