"""From patches to tokens: one linear layer, a class token in front, a position vector on each (arXiv:2010.11929, eq. 1).

Legend: N patches, T = N + 1 tokens, D width, P patch side, C channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def projection(model) -> tuple[Tensor, Tensor]:
    """ViTForImageClassification -> weight (D,C,P,P), bias (D,): one filter for each number of a token."""
    conv = model.vit.embeddings.patch_embeddings.projection
    bias = conv.bias if conv.bias is not None else conv.weight.new_zeros(conv.out_channels)
    return conv.weight.detach(), bias.detach()


def project(patches: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(..., C, P, P) patches, weight (D,C,P,P), bias (D,) -> (..., D): Wx + b with x the flattened patch.

    The model does the same with a convolution whose stride is its kernel size.
    """
    return patches.flatten(-3) @ weight.flatten(1).T + bias


class Sum(NamedTuple):
    """One number of a patch embedding, as the sum that makes it: terms.sum() + bias = value."""

    terms: Tensor  # (C,P,P), pixel x weight
    bias: Tensor  # ()
    value: Tensor  # ()


def projection_sum(patch: Tensor, weight: Tensor, bias: Tensor, dimension: int) -> Sum:
    """Patch (C,P,P) and one of the D dimensions -> every term of its Wx + b."""
    terms = patch * weight[dimension]
    return Sum(terms, bias[dimension], terms.sum() + bias[dimension])


class Components(NamedTuple):
    """Principal components of the filters, strongest first."""

    filters: Tensor  # (count,C,P,P), unit length, orthogonal
    explained: Tensor  # (count,), share of the filters' variance, 0 to 1


def filter_components(weight: Tensor, count: int = 28) -> Components:
    """Filters (D,C,P,P) -> their leading principal components (arXiv:2010.11929, Fig. 7 left).

    At most min(D, C*P*P) exist. A component's sign is arbitrary: it is set so that its largest number is positive.
    """
    flat = weight.flatten(1).double()
    _, strength, directions = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False)
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    explained = strength.square() / strength.square().sum().clamp(min=torch.finfo(torch.double).tiny)
    filters = (directions * largest.sign()).reshape(-1, *weight.shape[1:])
    return Components(filters[:count].to(weight.dtype), explained[:count].to(weight.dtype))


def evenness(weight: Tensor) -> tuple[Tensor, float]:
    """Filters (D,C,P,P) -> (D,) each one's share of energy, 0 to 1, in plain colour and straight slopes (across and down); and the
    share that noise would have."""
    side = weight.shape[-1]
    line = torch.linspace(-1, 1, side, dtype=torch.double)
    plain = torch.ones(side, side, dtype=torch.double)
    patterns = torch.stack([plain, *([line.expand(side, side), line[:, None].expand(side, side)] if side > 1 else [])]).flatten(1)
    patterns = patterns / patterns.norm(dim=1, keepdim=True)  # orthogonal as they are
    flat = weight.double().flatten(2)
    energy = flat.square().sum(dim=(1, 2)).clamp(min=torch.finfo(torch.double).tiny)
    return ((flat @ patterns.T).square().sum(dim=(1, 2)) / energy).to(weight.dtype), len(patterns) / side**2


def turned(filters: Tensor, like: Tensor) -> Tensor:
    """Components (n,C,P,P), each with the sign that makes it most like the one of the same rank in `like` (n,C,P,P)."""
    against = (filters * like).flatten(1).sum(dim=1) < 0
    return torch.where(against[:, None, None, None], -filters, filters)


class Assembly(NamedTuple):
    """What goes into the first layer: embeddings = concat(cls, patches) + positions."""

    cls: Tensor  # (1,D), learned, the same for every picture
    patches: Tensor  # (N,D), Wx + b
    positions: Tensor  # (T,D), learned
    embeddings: Tensor  # (T,D)


@torch.no_grad()
def assembly(model, patch_embeddings: Tensor) -> Assembly:
    """Patch embeddings (N,D) -> the parts of the model's token embeddings, and their sum."""
    cls, positions = model.vit.embeddings.cls_token[0], model.vit.embeddings.position_embeddings[0]
    return Assembly(cls, patch_embeddings, positions, torch.cat([cls, patch_embeddings]) + positions)
