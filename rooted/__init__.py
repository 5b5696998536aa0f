"""Rooted logistic objectives: losses for classification, regression and adversarial training.

Needs nothing but torch. The mathematics is in `rooted.functional`, the paper's experiments in `rooted.experiments`.
"""

from rooted.adversarial import AdversarialLoss, adversarial_loss, parse_adversarial_loss
from rooted.losses import FocalLoss, RootedBCEWithLogitsLoss, RootedCrossEntropyLoss

__all__ = [
    "AdversarialLoss",
    "FocalLoss",
    "RootedBCEWithLogitsLoss",
    "RootedCrossEntropyLoss",
    "adversarial_loss",
    "parse_adversarial_loss",
]
