"""Self-attention worked out (Vaswani et al. 2017, arXiv:1706.03762; arXiv:2010.11929, Fig. 7 right and Fig. 6).

Legend: L layers, H heads, T tokens (CLS first), N patches, D width, d = D / H width of a head.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Attended(NamedTuple):
    """All heads of one attention layer; leading batch axes as given."""

    query: Tensor  # (...,H,T,d)
    key: Tensor  # (...,H,T,d)
    value: Tensor  # (...,H,T,d)
    scores: Tensor  # (...,H,T,T), q.k / sqrt(d)
    weights: Tensor  # (...,H,T,T), softmax over the last axis: rows sum to 1
    context: Tensor  # (...,H,T,d), weights @ value


def attend(layer, hidden: Tensor) -> Attended:
    """A ViT layer and the residual stream (...,T,D) that enters it -> its attention, step by step."""
    attention, tokens = layer.attention, layer.layernorm_before(hidden)

    def heads(projection) -> Tensor:
        return projection(tokens).unflatten(-1, (attention.num_attention_heads, -1)).transpose(-3, -2)

    query, key, value = heads(attention.q_proj), heads(attention.k_proj), heads(attention.v_proj)
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    weights = scores.softmax(dim=-1)
    return Attended(query, key, value, scores, weights, weights @ value)


def output(layer, context: Tensor) -> Tensor:
    """(...,H,T,d) -> (...,T,D): the heads side by side, through o_proj; what attention adds to the residual stream."""
    return layer.attention.o_proj(context.transpose(-3, -2).flatten(-2))


def sharpest(attention: Tensor, token: int) -> tuple[int, int]:
    """Weights (L,H,T,T) and a patch's token -> layer and head in which that token gives most to one other patch."""
    heads = attention.shape[1]
    given = attention[:, :, token].flatten(0, 1).clone()  # (LH,T)
    given[:, [0, token]] = 0
    return divmod(given.amax(1).argmax().item(), heads)


class Pair(NamedTuple):
    """Why token `query` looks at token `key` as much as it does, in one head."""

    query: Tensor  # (d,)
    key: Tensor  # (d,)
    products: Tensor  # (d,), query * key
    dot: Tensor  # (), products.sum()
    scaled: Tensor  # (), dot / sqrt(d)
    scores: Tensor  # (T,), the scaled scores of the query against every token
    weights: Tensor  # (T,), softmax(scores)
    weight: Tensor  # (), weights[key]
    value: Tensor  # (d,), of the key's token
    mixed: Tensor  # (d,), sum over tokens of weight x value


def pair(attended: Attended, head: int, query: int, key: int) -> Pair:
    """One head's Attended (no batch axis) and two tokens (0 is CLS, patch i is i + 1) -> every step between them."""
    q, k = attended.query[head, query], attended.key[head, key]
    scores = attended.scores[head, query]
    weights = attended.weights[head, query]
    mixed = attended.context[head, query]
    return Pair(q, k, q * k, (q * k).sum(), scores[key], scores, weights, weights[key], attended.value[head, key], mixed)


class Plane(NamedTuple):
    """Queries and keys of one head, laid out in one plane."""

    query: Tensor  # (T,2)
    key: Tensor  # (T,2)
    explained: Tensor  # (2,), share of all their variance along each direction


def query_key_map(query: Tensor, key: Tensor) -> Plane:
    """One head's (T,d) queries and keys -> their places on one map (AttentionViz: Yeh et al. 2023, arXiv:2305.03210).

    What no softmax notices is taken out: keys are moved onto the queries' centre, and if one cloud is wider than the
    other, both are brought to one width. Then both are projected on their two common principal directions.
    """
    kind = torch.finfo(query.dtype)
    least = (kind.eps * torch.maximum(query.norm(), key.norm())).clamp(min=kind.tiny)  # a narrower cloud is one point, rounded
    query, key = query - query.mean(dim=0), key - key.mean(dim=0)
    balance = (key.norm().clamp(min=least) / query.norm().clamp(min=least)).sqrt()
    both = torch.cat([query * balance, key / balance])
    _, strength, directions = torch.linalg.svd(both, full_matrices=False)
    places, explained = both @ directions[:2].T, strength[:2].square() / strength.square().sum().clamp(min=kind.tiny)
    if len(directions) < 2:  # one number a query, or one token
        places, explained = torch.nn.functional.pad(places, (0, 1)), torch.nn.functional.pad(explained, (0, 1))
    return Plane(places[: len(query)], places[len(query) :], explained)


def patch_distances(grid: tuple[int, int], patch_size: int) -> Tensor:
    """(N,N) distances between patch centres in pixels of the model's input."""
    rows, cols = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    centres = torch.stack([rows.flatten(), cols.flatten()], dim=1).float() * patch_size
    return torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")


def mean_distance(attention: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """(L,H,T,T) -> (L,H): how far a patch looks on average, in pixels (arXiv:2010.11929, Fig. 7 right).

    Attention to and from CLS has no distance: it is left out, and each patch's remaining weights count as shares. A patch that
    gives less than float rounding of its weight to patches looks at none and is left out; nan where all of a head's do.
    """
    between = attention[..., 1:, 1:]
    total = between.sum(dim=-1, keepdim=True)
    shares = torch.where(total > torch.finfo(between.dtype).eps, between / total, torch.nan)
    return (shares * patch_distances(grid, patch_size).to(shares)).sum(dim=-1).nanmean(dim=-1)


FUSIONS = ("mean", "max", "min")


def rollout(attention: Tensor, fusion: str = "mean", discard: float = 0.0) -> Tensor:
    """(L,H,T,T), rows sum to 1 -> (T,T), rows sum to 1. Abnar & Zuidema 2020, arXiv:2005.00928.

    Each layer's heads are fused, averaged with the identity (the residual path), and the layers multiplied.
    discard: the share of each layer's weakest fused weights that is set to 0 first; what CLS gives itself stays, even where it is
    among them (jacobgil's vit-explain).
    """
    if fusion not in FUSIONS:
        raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, not {fusion!r}")
    if not 0 <= discard <= 1:
        raise ValueError(f"discard must be from 0 to 1, not {discard}")
    fused = attention.mean(dim=1) if fusion == "mean" else getattr(attention, f"a{fusion}")(dim=1)
    flat = fused.flatten(1).clone()
    weakest = flat.topk(int(discard * flat.shape[1]), dim=1, largest=False).indices
    fused = flat.scatter(1, weakest, 0.0).reshape(fused.shape)
    fused[:, 0, 0] = flat[:, 0]
    identity = torch.eye(fused.shape[-1], dtype=fused.dtype, device=fused.device)
    mixed = fused + identity
    joint = identity
    for layer in mixed / mixed.sum(dim=-1, keepdim=True):
        joint = layer @ joint
    return joint
