"""The Inception score of Salimans et al. 2016: exp of the mean KL divergence of p(y|x) from p(y), over 10 splits."""

import math

import numpy as np
import torch

from metrics.measures.inputs import Inputs
from metrics.measures.metric import COUNT, Metric, Numbers, Replicates

SPLITS = 10


def inception_score(logits: torch.Tensor, splits: int = SPLITS) -> tuple[float, float]:
    """Mean and standard deviation (over splits, divided by `splits`) of the score of class logits [N, classes].

    StyleGAN2-ADA and the original take Inception's logits without the output bias, and so does `Inception.logits`.
    """
    if len(logits) < splits:
        raise ValueError(f"the Inception score over {splits} splits needs at least {splits} images")
    scores = []
    for index in range(splits):
        rows = logits[index * len(logits) // splits : (index + 1) * len(logits) // splits].double()
        log_p = rows.log_softmax(dim=1)
        # By logarithms, as a class that no image belongs to has probability 0 in float64.
        log_marginal = log_p.logsumexp(dim=0, keepdim=True) - math.log(len(rows))
        scores.append((log_p.exp() * (log_p - log_marginal)).sum(dim=1).mean().exp())
    values = torch.stack(scores)
    return float(values.mean()), float(values.std(correction=0))


class InceptionScore(Metric):
    """is<N>."""

    grammar = (rf"is{COUNT}",)
    kind, stem, home = "is", "is", "inception"
    listed = ("is50k",)
    higher_is_better = True
    least = SPLITS
    has_real_set = False

    def numbers(self, inputs: Inputs) -> tuple[Numbers, Replicates]:
        """`_mean` and `_std` over the splits."""
        logits = inputs.detector.logits(inputs.generated_features()).to(inputs.device)
        keys = f"{self.name}_mean", f"{self.name}_std"
        replicates = [inception_score(logits[torch.from_numpy(rows)]) for rows in inputs.resampled_generated()]
        columns = np.array(replicates).reshape(-1, 2).T
        return dict(zip(keys, inception_score(logits), strict=True)), dict(zip(keys, columns, strict=True))
