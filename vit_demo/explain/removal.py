"""Which patches speak for a class: maps from taking patches away.

Takes and gives what the maps of relevance.py do. Patches are really dropped (see tokens.py), so the model never sees
a grey hole that no training picture had.

Legend: M trials, T = N + 1 tokens, N patches, D width, K classes.
"""

import torch
from torch import Tensor

from vit_demo.explain.attribution import Attribution
from vit_demo.explain.cost import flops
from vit_demo.explain.tokens import Progress, embed, logits_keeping

LEAST_DRAWS, MOST_DRAWS = 512, 4096  # of Shapley values
MOST_WORK = 1e12  # operations: some seconds on two CPU cores


@torch.no_grad()
def occlusion_map(
    model, pixel_values: Tensor, target: Tensor, batch: int = 32, progress: Progress | None = None
) -> Tensor:
    """How much the target falls when one patch is dropped, for each patch (Zeiler & Fergus 2013, arXiv:1311.2901, with
    dropping for grey squares). N + 1 forwards. (N,), signed."""
    embeddings = embed(model, pixel_values)
    count = embeddings.shape[1] - 1
    keep = torch.ones(count + 1, count, dtype=torch.bool, device=embeddings.device)
    keep[1:].fill_diagonal_(False)
    scores = logits_keeping(model, embeddings, keep, batch, progress) @ target
    return scores[0] - scores[1:]


def _random_keeps(count: int, trials: int, seed: int) -> Tensor:
    """(M,N) bool: pairs of a random set and its complement; sizes s drawn in proportion to 1 / (s (N - s))."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.arange(1, count)
    drawn = sizes[torch.multinomial(1 / (sizes * (count - sizes)).double(), trials // 2, True, generator=generator)]
    rank = torch.rand(trials // 2, count, generator=generator).argsort(dim=1).argsort(dim=1)
    keep = rank < drawn[:, None]
    return torch.stack([keep, ~keep], dim=1).flatten(0, 1)


def draws_for(config) -> int:
    """As many as MOST_WORK allows, within bounds; two halves of pairs."""
    return int(min(max(MOST_WORK / flops(config).total, LEAST_DRAWS), MOST_DRAWS)) // 4 * 4


@torch.no_grad()
def shapley_values(
    model,
    pixel_values: Tensor,
    target: Tensor,
    draws: int | None = None,
    seed: int = 0,
    batch: int = 32,
    progress: Progress | None = None,
) -> Attribution:
    """Shapley values of the patches, estimated: KernelSHAP (Lundberg & Lee 2017, arXiv:1705.07874) with paired sets
    (Covert & Lee 2021, arXiv:2012.01536). `draws` + 2 forwards, as many as the model's size allows unless given.

    The values sum to the target on all patches minus the target on none. Where draws are few for the number of
    patches, a ridge pulls the values together. How sure they are is told by their two halves: r between estimates from half
    the draws each is 2r / (1 + r) between estimates from all (Spearman 1910; Brown 1910). draws: a multiple of 4.
    """
    embeddings = embed(model, pixel_values)
    count, device = embeddings.shape[1] - 1, embeddings.device
    ends = torch.tensor([[False], [True]], device=device).expand(-1, count)
    if count == 1:
        nothing, everything = logits_keeping(model, embeddings, ends) @ target
        return Attribution((everything - nothing)[None], (everything - nothing).item(), 0.0)
    draws = draws or draws_for(model.config)
    keep = _random_keeps(count, draws, seed).to(device)
    scores = (logits_keeping(model, embeddings, torch.cat([ends, keep]), batch, progress) @ target).double()
    nothing, everything, scores = scores[0], scores[1], scores[2:]
    change, half = everything - nothing, draws // 2
    values, one, other = (_solved(keep[part].double(), scores[part] - nothing, change) for part in (slice(None), slice(half), slice(half, None)))
    r = torch.corrcoef(torch.stack([one, other]))[0, 1].clamp(min=0)  # not a number where no patch matters
    return Attribution(values.to(target.dtype), change.item(), (values.sum() - change).item(), draws, (2 * r / (1 + r)).item() if r.isfinite() else None)


def _solved(present: Tensor, scores: Tensor, change: Tensor) -> Tensor:
    """(M,N) who was there, (M,) target above that of none -> (N,) values that sum to `change` and explain the scores best."""
    draws, count = present.shape
    share = change / count
    rest = scores - present.sum(dim=1) * share  # what equal shares do not explain
    gram = present.T @ present / draws
    gram += torch.eye(count, dtype=gram.dtype, device=gram.device) * (count / draws) * gram.diagonal().mean() / 4
    moments = torch.stack([present.T @ rest / draws, torch.ones_like(present[0])], dim=1)
    solved, ones = torch.linalg.solve(gram, moments).unbind(dim=1)
    return share + solved - ones * solved.sum() / ones.sum()
