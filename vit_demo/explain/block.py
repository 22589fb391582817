"""One encoder block, step by step: LayerNorm, attention, addition; LayerNorm, MLP, addition.

The pre-norm block of Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 2 and 3; attention, MLP and the additions around them are
those of Vaswani et al. 2017, arXiv:1706.03762, which normalises after adding.

Legend: T tokens (CLS first), D width, M numbers of the MLP's hidden layer.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Steps(NamedTuple):
    """entering + attention = between; between + mlp = leaving. Shapes as of all tokens; of one token without T."""

    entering: Tensor  # (T,D), the residual stream before the layer
    normed: Tensor  # (T,D), what attention reads
    attention: Tensor  # (T,D), the heads joined and mixed by o_proj
    between: Tensor  # (T,D)
    normed_between: Tensor  # (T,D), what the MLP reads
    hidden: Tensor  # (T,M), after the activation
    mlp: Tensor  # (T,D), back to the width
    leaving: Tensor  # (T,D), the residual stream after the layer


@torch.no_grad()
def steps(layer, hidden: Tensor, token: int | slice = slice(None)) -> Steps:
    """A ViT layer and the residual stream (T,D) that enters it -> every step of `token`, or of all tokens."""
    normed = layer.layernorm_before(hidden)
    attention = layer.attention(normed[None], None)[0][0][token]
    entering, mlp = hidden[token], layer.mlp
    between = entering + attention
    normed_between = layer.layernorm_after(between)
    activated = mlp.activation_fn(mlp.fc1(normed_between))
    written = mlp.fc2(activated)
    return Steps(entering, normed[token], attention, between, normed_between, activated, written, between + written)
