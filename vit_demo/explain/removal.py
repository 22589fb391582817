"""Which patches speak for a class: maps from taking patches away.

Takes and gives what the maps of relevance.py do. Patches are really dropped (see tokens.py), so the model never sees
a grey hole that no training picture had.

Legend: M trials, T = N + 1 tokens, N patches, D width, K classes.
"""

import torch
from torch import Tensor

from vit_demo.explain.tokens import Progress, embed, logits_keeping


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


@torch.no_grad()
def shapley_map(
    model,
    pixel_values: Tensor,
    target: Tensor,
    trials: int = 512,
    seed: int = 0,
    batch: int = 32,
    progress: Progress | None = None,
) -> Tensor:
    """Shapley values of the patches, estimated: KernelSHAP (Lundberg & Lee 2017, arXiv:1705.07874) with paired sets
    (Covert & Lee 2021, arXiv:2012.01536). `trials` + 2 forwards. (N,), signed.

    The values sum to the target on all patches minus the target on none. Where trials are few for the number of
    patches, a ridge pulls the values together.
    """
    embeddings = embed(model, pixel_values)
    count, device = embeddings.shape[1] - 1, embeddings.device
    if count == 1:
        nothing, everything = logits_keeping(model, embeddings, torch.tensor([[False], [True]], device=device)) @ target
        return (everything - nothing)[None]
    keep = _random_keeps(count, trials, seed).to(device)
    ends = torch.tensor([[False], [True]], device=device).expand(-1, count)
    scores = (logits_keeping(model, embeddings, torch.cat([ends, keep]), batch, progress) @ target).double()
    nothing, everything, scores = scores[0], scores[1], scores[2:]
    share = (everything - nothing) / count
    present = keep.double()
    rest = scores - nothing - present.sum(dim=1) * share  # what equal shares do not explain
    gram = present.T @ present / trials
    gram += torch.eye(count, dtype=gram.dtype, device=device) * (count / trials) * gram.diagonal().mean() / 4
    moments = torch.stack([present.T @ rest / trials, torch.ones_like(present[0])], dim=1)
    solved, ones = torch.linalg.solve(gram, moments).unbind(dim=1)
    return (share + solved - ones * solved.sum() / ones.sum()).to(target.dtype)
