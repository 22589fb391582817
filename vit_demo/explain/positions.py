"""Where a patch is, a ViT knows only from its position vector. Three proofs and a picture (arXiv:2010.11929, Fig. 7).

Without positions a transformer is blind to order: self-attention is permutation-equivariant (Vaswani et al. 2017,
arXiv:1706.03762; for shuffled pictures see Naseer et al. 2021, arXiv:2105.10497).

Legend: N patches, T = N + 1 tokens, D width, K classes.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from vit_demo.explain.tokens import classify

FEW = 4  # places; of fewer, their mean taken out, the cosines say nothing


def directions(positions: Tensor) -> Tensor:
    """Position vectors (T,D), CLS first -> (N,D) of length 1: their products are the cosines of places.

    The mean of all places is taken out first: it tells none from another, and could as well lie in the projection's bias.
    A place of which nothing but rounding is left is like no other: 0.
    """
    own = positions[1:] - positions[1:].mean(dim=0)
    rounding = 16 * torch.finfo(own.dtype).eps * positions[1:].norm(dim=-1, keepdim=True)
    return normalize(torch.where(own.norm(dim=-1, keepdim=True) > rounding, own, 0), dim=-1)


def position_similarity(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position vectors (T,D), CLS first -> cosines (rows,cols,rows,cols): [r,c] compared with every place (Fig. 7 centre)."""
    own = directions(positions)
    return (own @ own.T).reshape(*grid, *grid)


def neighbour_similarity(similarity: Tensor) -> tuple[float, float]:
    """Cosines (rows,cols,rows,cols) -> their mean over places side by side or one above the other, and over any two places."""
    rows, cols = similarity.shape[:2]
    cosines, place = similarity.reshape(rows * cols, -1), torch.arange(rows * cols).reshape(rows, cols)
    beside = torch.cat([cosines[place[:, :-1], place[:, 1:]].flatten(), cosines[place[:-1], place[1:]].flatten()])
    if not len(beside):  # one patch is the whole picture
        return 0.0, 0.0
    count = len(cosines)
    return beside.mean().item(), ((cosines.sum() - cosines.trace()) / (count * (count - 1))).item()


def interpolated(positions: Tensor, grid: tuple[int, int], other: tuple[int, int]) -> Tensor:
    """Position vectors (T,D) of a grid, CLS first -> those of another grid of places, as fine-tuning at another picture size
    begins with them: stretched bicubically (arXiv:2010.11929, section 3.2), CLS's own as it was.

    The same numbers as ViTEmbeddings.interpolate_pos_encoding gives, which knows square grids only.
    """
    laid = positions[1:].reshape(1, *grid, -1).permute(0, 3, 1, 2)
    return torch.cat([positions[:1], interpolate(laid, size=other, mode="bicubic")[0].flatten(1).T])


def place_on(patch: int, grid: tuple[int, int], other: tuple[int, int]) -> int:
    """The place of another grid, laid over the same picture, in which the middle of a patch lies."""
    row, col = divmod(patch, grid[1])
    return (2 * row + 1) * other[0] // (2 * grid[0]) * other[1] + (2 * col + 1) * other[1] // (2 * grid[1])


def seen_from(positions: Tensor, grid: tuple[int, int], place: int) -> tuple[Tensor, float]:
    """Position vectors (T,D), CLS first -> cosines (rows,cols) of one place with all, and the mean cosine of neighbours, as
    `neighbour_similarity` has it: without the cosines of all with all, which for large grids are too many."""
    own = directions(positions)
    laid = own.reshape(*grid, -1)
    beside = torch.cat([(laid[:, :-1] * laid[:, 1:]).sum(-1).flatten(), (laid[:-1] * laid[1:]).sum(-1).flatten()])
    return (own @ own[place]).reshape(grid), beside.mean().item() if len(beside) else 0.0


def shuffled_order(count: int, share: float, seed: int = 0) -> Tensor:
    """(N,) order in which `share` of the patches have all changed places and the others have not; order[i] moves to i.

    The chosen ones go round in one ring, so none of them stays by luck. One patch alone cannot move.
    """
    generator = torch.Generator().manual_seed(seed)
    moved = torch.randperm(count, generator=generator)[: round(share * count)]
    order = torch.arange(count)
    order[moved] = moved.roll(1)
    return order


POSITIONS = ("stay", "move", "zero")


@torch.no_grad()
def jigsaw_logits(model, patch_embeddings: Tensor, order: Tensor, positions: str = "stay") -> Tensor:
    """Patch embeddings (N,D), order (N,) or (B,N) -> logits (B,K) of the picture with its patches in that order.

    positions: "stay" (patches move under fixed positions: a jigsaw), "move" (each patch takes its position along:
    nothing changes but float rounding), "zero" (no position vectors at all: the order cannot matter).
    """
    if positions not in POSITIONS:
        raise ValueError(f"positions must be one of {', '.join(POSITIONS)}, not {positions!r}")
    order = order.reshape(-1, order.shape[-1]).to(patch_embeddings.device)
    cls, table = model.vit.embeddings.cls_token[0], model.vit.embeddings.position_embeddings[0]
    patches, cls = patch_embeddings[order], cls.expand(len(order), 1, -1)
    if positions == "zero":
        return classify(model, torch.cat([cls, patches], dim=1))
    placed = table[1:][order] if positions == "move" else table[1:]
    return classify(model, torch.cat([cls + table[:1], patches + placed], dim=1))


def shuffle_curve(model, patch_embeddings: Tensor, class_index: int, shares: list[float], seeds: int = 5) -> Tensor:
    """Patch embeddings (N,D) -> (seeds, len(shares)): the class's probability when that share of patches is shuffled."""
    rows = []
    for seed in range(seeds):
        orders = torch.stack([shuffled_order(len(patch_embeddings), share, seed) for share in shares])
        rows.append(jigsaw_logits(model, patch_embeddings, orders).softmax(dim=-1)[:, class_index])
    return torch.stack(rows)
