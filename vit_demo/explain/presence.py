"""Which patches speak for a class: every patch turned up from absent to present, and its share of the change counted.

A patch may be there by a part: adding log(a) to every attention score towards it makes it count a times, since
softmax weights become a exp(s) / sum of a exp(s). At a = 1 it is there; at a = 0 it is dropped exactly as in
tokens.py. Turning all patches up together and adding up each one's slope on the way divides the target's change from
"CLS alone" to "the whole picture" fairly among the patches: their Aumann-Shapley values (Aumann & Shapley 1974), which
are integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) over presence instead of over colours. Nothing is
painted grey on the way, and a dozen forwards do what sampled Shapley values need hundreds for.

Legend: B points on the way, T = N + 1 tokens, N patches, K classes, C channels, S picture side.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vit_demo.explain.quadrature import gauss_legendre
from vit_demo.explain.tokens import Progress, classify, embed


class Presence(NamedTuple):
    """Attributions whose sum should be the target's change from no patches to all."""

    patches: Tensor  # (N,), signed
    change: float  # target with every patch minus target with CLS alone
    gap: float  # patches.sum() - change: 0 with infinitely many steps


@torch.enable_grad()
def integrated_presence(
    model, pixel_values: Tensor, target: Tensor, steps: int = 16, batch: int = 4, progress: Progress | None = None
) -> Presence:
    """pixel_values (1,C,S,S), target (K,) -> Presence. The points a = u^4 lie denser near absence, where the first
    patches to appear change the most."""
    embeddings = embed(model, pixel_values)
    total = torch.zeros_like(embeddings[0, 1:, 0])
    points, weights = gauss_legendre(steps, total)
    done = 0
    for u, weight in zip(points.split(batch), weights.split(batch), strict=True):
        amount = (u**4)[:, None].repeat(1, len(total)).requires_grad_()
        bias = torch.cat([torch.zeros_like(amount[:, :1]), amount.log()], dim=1)
        logits = classify(model, embeddings.expand(len(u), -1, -1), bias)
        (slope,) = torch.autograd.grad((logits @ target).sum(), amount)
        total += (weight * 4 * u**3) @ slope
        done += len(u)
        if progress:
            progress(done, steps)
    with torch.no_grad():
        whole = (classify(model, embeddings)[0] @ target).item()
        alone = (classify(model, embeddings[:, :1])[0] @ target).item()
    return Presence(total, whole - alone, total.sum().item() - (whole - alone))


def presence_map(model, pixel_values: Tensor, target: Tensor, progress: Progress | None = None) -> Tensor:
    """Integrated presence of each patch. (N,), signed."""
    return integrated_presence(model, pixel_values, target, progress=progress).patches
