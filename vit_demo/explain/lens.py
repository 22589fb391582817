"""Reading the residual stream on its way through the layers.

Legend: L layers, T tokens (CLS first), N patches, D width, K classes. hidden_states (L+1,T,D) is the residual stream:
[0] the embeddings, [l] after layer l, before the final layer norm.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vit_demo.explain.block import steps
from vit_demo.explain.tokens import head


@torch.no_grad()
def logit_lens(model, hidden_states: Tensor) -> Tensor:
    """(L+1,T,D) -> logits (L+1,T,K): every token after every layer, read as if it were the final CLS.

    [-1, 0] are the model's logits. nostalgebraist 2020; for ViTs Vilas et al. 2023, arXiv:2310.18969.
    """
    return head(model, hidden_states)


def patch_similarity(hidden_states: Tensor) -> Tensor:
    """(L+1,T,D) -> (L+1,N,N): cosine between every two patches at each depth (EL-VIT, arXiv:2401.12666)."""
    directions = normalize(hidden_states[:, 1:], dim=-1)
    return directions @ directions.transpose(-2, -1)


def norms(hidden_states: Tensor) -> Tensor:
    """(L+1,T,D) -> (L+1,T): length of each token's vector at each depth."""
    return hidden_states.norm(dim=-1)


class Contributions(NamedTuple):
    """What each layer adds: hidden_states[l] + attention[l] + mlp[l] = hidden_states[l+1]."""

    attention: Tensor  # (L,T,D)
    mlp: Tensor  # (L,T,D)


@torch.no_grad()
def contributions(model, hidden_states: Tensor) -> Contributions:
    """(L+1,T,D) -> what attention and MLP write into the residual stream, layer by layer."""
    made = (steps(layer, hidden) for layer, hidden in zip(model.vit.layers, hidden_states, strict=False))
    attention, mlp = zip(*((step.attention, step.mlp) for step in made), strict=True)
    return Contributions(torch.stack(attention), torch.stack(mlp))


class LogitParts(NamedTuple):
    """The logits as a sum: embedding + attention.sum(0) + mlp.sum(0) + constant."""

    embedding: Tensor  # (K,)
    attention: Tensor  # (L,K)
    mlp: Tensor  # (L,K)
    constant: Tensor  # (K,), from the biases of the final layer norm and the classifier


@torch.no_grad()
def logit_parts(model, hidden_states: Tensor, added: Contributions) -> LogitParts:
    """(L+1,T,D) and its Contributions -> how much each layer's attention and MLP gave each class, through CLS.

    The final layer norm divides by one number a picture; with that number fixed, everything after is linear
    (direct logit attribution: the residual stream is a sum, Elhage et al. 2021, "A Mathematical Framework for Transformer
    Circuits"; for ViTs Joseph et al. 2025, arXiv:2504.19475).
    """
    norm, classifier = model.vit.layernorm, model.classifier
    spread = (hidden_states[-1, 0].var(unbiased=False) + norm.eps).sqrt()

    def logits(part: Tensor) -> Tensor:
        return (part - part.mean(dim=-1, keepdim=True)) / spread * norm.weight @ classifier.weight.T

    return LogitParts(
        logits(hidden_states[0, 0]), logits(added.attention[:, 0]), logits(added.mlp[:, 0]), classifier(norm.bias)
    )
