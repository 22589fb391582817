"""Which patches speak for a class: every patch turned up from absent to present, and its share of the change counted.

A patch may be there by a part: adding log(a) to every attention score towards it makes it count a times, since
softmax weights become a exp(s) / sum of a exp(s). At a = 1 it is there; at a = 0 it is dropped exactly as in
tokens.py. Turning all patches up together and adding up each one's slope on the way divides the target's change from
"CLS alone" to "the whole picture" fairly among the patches: their Aumann-Shapley values (Aumann & Shapley 1974), which
are integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) over presence instead of over colours. Nothing is
painted grey on the way, and some dozens of forwards do what sampled Shapley values need thousands for.

Legend: B points on the way, T = N + 1 tokens, N patches, K classes, C channels, S picture side.
"""

import torch
from torch import Tensor

from vit_demo.explain.attribution import Attribution
from vit_demo.explain.quadrature import gauss_legendre
from vit_demo.explain.tokens import Progress, at_once, classify, embed

STEPS, MOST_STEPS = 32, 128
BATCH = 4  # of steps that run together, where memory allows
MOST_PASSES = 2 * MOST_STEPS - STEPS  # 32 + 64 + 128
TOLERANCE = 0.02  # of the change, or of the largest share where that is more


@torch.enable_grad()
def integrated_presence(model, pixel_values: Tensor, target: Tensor, progress: Progress | None = None) -> Attribution:
    """pixel_values (1,C,S,S), target (K,) -> Attribution, from CLS alone to the whole picture. The steps are doubled until the
    shares sum to the change."""
    embeddings = embed(model, pixel_values)
    with torch.no_grad():
        whole = (classify(model, embeddings)[0] @ target).item()
        alone = (classify(model, embeddings[:, :1])[0] @ target).item()
    steps, before = STEPS, 0
    while True:
        shares = _along(model, embeddings, target, steps, progress and _from(progress, before))
        gap = shares.sum().item() - (whole - alone)
        if steps == MOST_STEPS or abs(gap) <= TOLERANCE * max(abs(whole - alone), shares.abs().max().item()):
            if progress:
                progress(MOST_PASSES, MOST_PASSES)
            return Attribution(shares, whole - alone, gap)
        steps, before = 2 * steps, before + steps


def _from(progress: Progress, before: int) -> Progress:
    """Steps of another round beside all that may be needed: a bar does not fill before it is known that none is left."""
    return lambda done, steps: progress(before + done, MOST_PASSES)


def _along(model, embeddings: Tensor, target: Tensor, steps: int, progress: Progress | None) -> Tensor:
    """(1,T,D) -> (N,): slopes added up at the points a = u^4, which lie denser near absence, where the first patches to appear
    change the most."""
    total = torch.zeros_like(embeddings[0, 1:, 0])
    points, weights = gauss_legendre(steps, total)
    done, batch = 0, min(BATCH, at_once(model, embeddings.shape[1], len(model.vit.layers)))
    for u, weight in zip(points.split(batch), weights.split(batch), strict=True):
        amount = (u**4)[:, None].repeat(1, len(total)).requires_grad_()
        bias = torch.cat([torch.zeros_like(amount[:, :1]), amount.log()], dim=1)
        logits = classify(model, embeddings.expand(len(u), -1, -1), bias)
        (slope,) = torch.autograd.grad((logits @ target).sum(), amount)
        total += (weight * 4 * u**3) @ slope
        done += len(u)
        if progress:
            progress(done, steps)
    return total
