"""The Inception score of Salimans et al. 2016: exp of the mean KL divergence of p(y|x) from p(y), over 10 splits."""

import torch

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
        log_marginal = log_p.exp().mean(dim=0, keepdim=True).log()
        scores.append((log_p.exp() * (log_p - log_marginal)).sum(dim=1).mean().exp())
    values = torch.stack(scores)
    return float(values.mean()), float(values.std(correction=0))
