"""Running a ViT on some of its patches only: tokens are really dropped, not painted grey.

A token is dropped after it got its position, so the rest stay where they were. Attention has no fixed length, so the
model simply runs on a shorter sequence; the answer equals a full run in which nobody may attend to the dropped tokens
(as in Jain et al. 2022, arXiv:2204.08945, and Covert et al. 2023, arXiv:2206.05282).

Legend: B pictures or masks, N patches, T = N + 1 tokens, D width, K classes.
"""

from collections.abc import Callable
from itertools import repeat

import torch
from torch import Tensor

Progress = Callable[[int, int], None]  # called with (done, total); may raise to stop the work
SCORES_BYTES = 256e6  # of attention scores that are held at a time


def at_once(model, tokens: int, layers: int = 1) -> int:
    """How many pictures may run together, so that the attention scores of `layers` layers (with gradients all are held) stay
    within SCORES_BYTES. One at least."""
    return max(1, int(SCORES_BYTES // (4 * layers * model.config.num_attention_heads * tokens**2)))


@torch.no_grad()
def embed(model, pixel_values: Tensor) -> Tensor:
    """(B,C,S,S) -> (B,T,D): CLS and patches with their positions, the input of the first layer."""
    return model.vit.embeddings(pixel_values)


def head(model, hidden: Tensor) -> Tensor:
    """Residual stream (..., D) -> logits (..., K): the final layer norm and the classifier."""
    return model.classifier(model.vit.layernorm(hidden))


def classify(model, hidden: Tensor, bias: Tensor | None = None, first_layer: int = 0) -> Tensor:
    """Tokens (B,T,D) entering layer `first_layer` -> logits (B,K). Keeps gradients.

    bias: (B,T), added to every attention score towards a token; 0 leaves it alone, minus infinity hides it.
    """
    together = at_once(model, hidden.shape[1])
    if len(hidden) > together:
        biases = repeat(None) if bias is None else bias.split(together)
        return torch.cat([classify(model, *part, first_layer) for part in zip(hidden.split(together), biases)])
    if bias is not None:
        bias = bias[:, None, None, :]
    for layer in model.vit.layers[first_layer:]:
        hidden = layer(hidden, bias)
    return head(model, hidden[:, 0])


def drop(embeddings: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
    """Embeddings (B,T,D), keep (B,N) bool -> (tokens (B,1+k,D), bias (B,1+k) or None); k = the most kept in a row.

    CLS always stays. Rows that keep fewer than k are filled up with tokens that the bias hides.
    """
    longest = int(keep.sum(dim=1).max())
    order = keep.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
    cls = order.new_zeros(len(order), 1)
    order = torch.cat([cls, order + 1], dim=1)
    tokens = embeddings.gather(1, order[:, :, None].expand(-1, -1, embeddings.shape[2]))
    present = torch.cat([cls == 0, keep.gather(1, order[:, 1:] - 1)], dim=1)
    if present.all():
        return tokens, None
    return tokens, torch.zeros_like(present, dtype=tokens.dtype).masked_fill(~present, float("-inf"))


@torch.no_grad()
def logits_keeping(
    model, embeddings: Tensor, keep: Tensor, batch: int = 32, progress: Progress | None = None
) -> Tensor:
    """Embeddings (1,T,D) or (B,T,D), keep (B,N) bool -> logits (B,K) of the model on only the kept patches.

    Rows of about the same count run together, `batch` at a time, so that few tokens are filler.
    """
    embeddings = embeddings.expand(len(keep), -1, -1)
    by_count = keep.sum(dim=1).argsort()
    logits = embeddings.new_empty(len(keep), model.config.num_labels)
    done = 0
    for rows in by_count.split(batch):
        logits[rows] = classify(model, *drop(embeddings[rows], keep[rows]))
        done += len(rows)
        if progress:
            progress(done, len(keep))
    return logits
