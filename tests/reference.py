"""Slow, obvious restatements: loops over pairs, images and features, each line a line of the paper or of the code."""

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor


def mean_over_pairs(loss: Callable[[Tensor, Tensor], Tensor], z: Tensor) -> Tensor:
    """Mean of a two-view loss over pairs i < j."""
    return torch.stack([loss(z[i], z[j]) for i, j in combinations(range(len(z)), 2)]).mean()


def off_diagonal(c: Tensor) -> Tensor:
    """The entries of a square matrix that are not on its diagonal, in one row."""
    return c[~torch.eye(len(c), dtype=torch.bool)]


def unit(z: Tensor) -> Tensor:
    """Rows divided by their length."""
    return z / z.norm(dim=-1, keepdim=True)


def standardise_each(z: Tensor) -> Tensor:
    """Each view's features with mean 0 and biased variance 1; 1e-5 is added to the variance."""
    return torch.stack([(v - v.mean(0)) / (v.var(0, correction=0) + 1e-5).sqrt() for v in z])


def standardise_jointly(z: Tensor) -> Tensor:
    """Features with mean 0 and unbiased variance 1 over all views' rows."""
    rows = z.flatten(0, 1)
    return ((rows - rows.mean(0)) / rows.std(0)).view_as(z)


def barlow_twins_pair(x: Tensor, y: Tensor, weight: float) -> Tensor:
    """Barlow Twins (2103.03230), eq. 1, of two standardised views."""
    c = x.T @ y / len(x)
    return (c.diagonal() - 1).square().sum() + weight * off_diagonal(c).square().sum()


def barlow_twins_view_mean(x: Tensor, weight: float) -> Tensor:
    """The small-projector papers' code for more than two standardised views."""
    mean = x.mean(0)
    on = torch.stack([((v * mean).mean(0) - 1).square().sum() for v in x]).mean()
    return on + weight * off_diagonal(mean.T @ mean / len(mean)).square().sum()


def vicreg_pair(x: Tensor, y: Tensor, weights: tuple[float, float, float], epsilon: float) -> Tensor:
    """VICReg (2105.04906) of two views, in the published code's normalisation."""
    invariance, variance, covariance = weights

    def hinge(v: Tensor) -> Tensor:
        return torch.relu(1 - (v.var(0) + epsilon).sqrt()).mean()

    def covariances(v: Tensor) -> Tensor:
        return off_diagonal(torch.cov(v.T)).square().sum() / v.shape[1]

    distance = (x - y).square().mean()
    return invariance * distance + variance * (hinge(x) + hinge(y)) / 2 + covariance * (covariances(x) + covariances(y))


def leave_one_out(loss: Callable[[Tensor, Tensor], Tensor], z: Tensor) -> Tensor:
    """Mean over views of a two-view loss of a view and the mean of the others; one direction for two views."""
    if len(z) == 2:
        return loss(z[0], z[1])
    others = [torch.stack([z[w] for w in range(len(z)) if w != v]).mean(0) for v in range(len(z))]
    return torch.stack([loss(view, rest) for view, rest in zip(z, others, strict=True)]).mean()


def nt_xent_pair(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """SimCLR (2002.05709), eq. 1, mean over all 2 batch anchors; rows are taken as they are."""
    rows, batch = torch.cat((x, y)), len(x)
    losses = []
    for anchor in range(2 * batch):
        similarity = rows @ rows[anchor] / temperature
        others = torch.arange(2 * batch) != anchor
        losses.append(similarity[others].exp().sum().log() - similarity[(anchor + batch) % (2 * batch)])
    return torch.stack(losses).mean()


def spectral_contrastive(positives: list[tuple[Tensor, Tensor]], negatives: Tensor) -> Tensor:
    """The spectral contrastive loss (2106.04156): positives in pairs, negatives over all pairs of rows."""
    near = torch.stack([(x * y).sum(1).mean() for x, y in positives]).mean()
    far = torch.stack([(a @ b).square() for a in negatives for b in negatives]).mean()
    return -2 * near + far


def reformulated(z: Tensor, weight: float) -> Tensor:
    """The small-projector papers' loss: distance to the view mean, and its second moment's from the identity."""
    mean = z.mean(0)
    distance = torch.stack([(v - mean).square().sum(1).mean() for v in z]).mean()
    moment = torch.stack([torch.outer(row, row) for row in mean]).mean(0)
    return distance + weight * (moment - torch.eye(len(moment), dtype=z.dtype)).square().sum()


def logit_gap(smoothing: float, count: int, size: int = 1) -> float:
    """How far an own index's logit lies above another's at `linear_model.floor`: log(1 + N (1 − a)/(a size)), in nats.

    Infinite without smoothing: the floor is then approached and never reached.
    """
    return math.log1p(count * (1 - smoothing) / (smoothing * size)) if smoothing else math.inf


def parameters_count(module: torch.nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
