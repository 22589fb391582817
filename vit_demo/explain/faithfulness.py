"""Is a heat map true? Take patches away in its order and watch the model (RISE: Petsiuk et al. 2018, arXiv:1806.07421).

Insertion: the best-ranked patches alone, more and more of them; a true map makes the class rise early (large area).
Deletion: the best-ranked patches taken first; a true map makes it fall early (small area). The difference of the two
areas is the score; a random order gets about 0.

Legend: R rankings, N patches, T = N + 1 tokens, D width, K classes, X points of a curve.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vit_demo.explain.tokens import Progress, classify, logits_keeping

REMOVALS = ("drop", "mean")


@torch.no_grad()
def logits_removing(
    model, embeddings: Tensor, keep: Tensor, removal: str = "drop", batch: int = 32, progress: Progress | None = None
) -> Tensor:
    """Embeddings (1,T,D) of one picture, keep (B,N) bool -> logits (B,K) without the patches that are not kept.

    removal: "drop" (no token at all) or "mean" (the picture's mean patch in its place; the projection is linear, so
    that is the mean of the patch embeddings under the place's own position).
    """
    if removal not in REMOVALS:
        raise ValueError(f"removal must be one of {', '.join(REMOVALS)}, not {removal!r}")
    if removal == "drop":
        return logits_keeping(model, embeddings, keep, batch, progress)
    positions = model.vit.embeddings.position_embeddings
    blank = (embeddings - positions)[:, 1:].mean(dim=1, keepdim=True) + positions[:, 1:]
    logits = []
    for rows in keep.split(batch):
        patches = torch.where(rows[:, :, None], embeddings[:, 1:], blank)
        logits.append(classify(model, torch.cat([embeddings[:, :1].expand(len(rows), -1, -1), patches], dim=1)))
        if progress:
            progress(sum(map(len, logits)), len(keep))
    return torch.cat(logits)


class Curves(NamedTuple):
    """The class's probability as patches come and go, for each ranking."""

    shares: Tensor  # (X,), 0 to 1
    insertion: Tensor  # (R,X), with that share of the best-ranked patches
    deletion: Tensor  # (R,X), without them

    @property
    def insertion_area(self) -> Tensor:
        """(R,), 0 to 1; large is good."""
        return torch.trapezoid(self.insertion, self.shares)

    @property
    def deletion_area(self) -> Tensor:
        """(R,), 0 to 1; small is good."""
        return torch.trapezoid(self.deletion, self.shares)

    @property
    def score(self) -> Tensor:
        """(R,), -1 to 1: insertion area minus deletion area."""
        return self.insertion_area - self.deletion_area


def curves(
    model,
    embeddings: Tensor,
    maps: Tensor,
    class_index: int,
    against: int | None = None,
    removal: str = "drop",
    steps: int | None = None,
    batch: int = 32,
    progress: Progress | None = None,
) -> Curves:
    """Embeddings (1,T,D), maps (R,N), a class -> Curves. steps: points after the first, N (patch by patch) unless fewer.

    With `against`, the probability is that of the class if only these two were possible.
    """
    rankings, count = maps.shape
    counts = torch.linspace(0, count, (steps or count) + 1, device=maps.device).round().long().unique()
    rank = maps.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    inserted = rank[:, None, :] < counts[:, None]  # (R,X,N)
    keep = torch.stack([inserted, ~inserted]).flatten(0, 2)
    logits = logits_removing(model, embeddings, keep, removal, batch, progress)
    if against is None:
        probability = logits.softmax(dim=-1)[:, class_index]
    else:
        probability = (logits[:, class_index] - logits[:, against]).sigmoid()
    insertion, deletion = probability.reshape(2, rankings, len(counts))
    return Curves(counts / count, insertion, deletion)


def random_map(count: int, seed: int = 0) -> Tensor:
    """(N,) random numbers: the ranking that every map must beat."""
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))


def top_patches(scores: Tensor, count: int) -> Tensor:
    """(N,) -> (N,) bool: the `count` largest."""
    chosen = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    chosen[scores.argsort(descending=True, stable=True)[:count]] = True
    return chosen


def overlap(marked: Tensor, scores: Tensor) -> float:
    """Marked (N,) bool against as many of the map's (N,) best patches -> intersection over union, 0 to 1."""
    best = top_patches(scores, int(marked.sum()))
    return (marked & best).sum().item() / max((marked | best).sum().item(), 1)


def overlap_by_chance(marked: int, count: int) -> float:
    """The mean overlap of two random choices of `marked` from `count` patches: how many they share is hypergeometric."""
    def log_choices(n: int, k: Tensor) -> Tensor:
        return torch.lgamma(torch.tensor(n + 1.0, dtype=torch.double)) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)

    shared = torch.arange(max(0, 2 * marked - count), marked + 1, dtype=torch.double)
    chance = (log_choices(marked, shared) + log_choices(count - marked, marked - shared) - log_choices(count, torch.tensor(float(marked), dtype=torch.double))).exp()
    return (chance * shared / (2 * marked - shared).clamp(min=1)).sum().item()


def bootstrap_interval(values: Tensor, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """(M,) one number a picture -> percentile interval of their mean (Efron 1979)."""
    generator = torch.Generator().manual_seed(seed)
    values = values.double().cpu()
    shape = (100, len(values))  # a hundred draws at once: fast, and small in memory
    means = torch.cat([values[torch.randint(len(values), shape, generator=generator)].mean(1) for _ in range(draws // 100)])
    low, high = means.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=means.dtype)).tolist()
    return low, high
