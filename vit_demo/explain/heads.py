"""The head switchboard: what happens when attention heads are switched off (Michel et al. 2019, arXiv:1905.10650).

A head that is off adds nothing: its share of the input of o_proj is 0, as if those columns of o_proj were 0.
Nothing in the model is changed, so other work may use it meanwhile.

Legend: B switchings, L layers, H heads, T tokens, D width, K classes.
"""

import torch
from torch import Tensor

from vit_demo.explain.attention import attend, output
from vit_demo.explain.tokens import Progress, at_once, classify, head

BATCH = 4  # heads of a layer that are tried together, where memory allows: between two batches a stop is heard


def _layer(layer, hidden: Tensor, on: Tensor) -> Tensor:
    """Residual stream (B,T,D) through one layer with heads on (B,H) -> (B,T,D)."""
    context = attend(layer, hidden).context * on[:, :, None, None].to(hidden)
    hidden = hidden + output(layer, context)
    return hidden + layer.mlp(layer.layernorm_after(hidden))


@torch.no_grad()
def logits_without(model, embeddings: Tensor, off: Tensor) -> Tensor:
    """Embeddings (1,T,D) or (B,T,D), off (B,L,H) bool -> logits (B,K) with those heads off."""
    hidden = embeddings.expand(len(off), -1, -1)
    for layer, layer_off in zip(model.vit.layers, off.unbind(dim=1), strict=True):
        hidden = _layer(layer, hidden, ~layer_off) if layer_off.any() else layer(hidden)
    return head(model, hidden[:, 0])


@torch.no_grad()
def logits_without_each(model, hidden_states: Tensor, progress: Progress | None = None) -> Tensor:
    """Residual stream (L+1,T,D) of a picture -> (L,H,K): logits with only that head off.

    Some of a layer's heads run together, from that layer on: the layers before it do not change.
    """
    layers = model.vit.layers
    heads = model.config.num_attention_heads
    one_off = ~torch.eye(heads, dtype=torch.bool, device=hidden_states.device)
    logits, batch = [], min(BATCH, at_once(model, hidden_states.shape[1]))
    for index, layer in enumerate(layers):
        for on in one_off.split(batch):
            logits.extend(classify(model, _layer(layer, hidden_states[index].expand(len(on), -1, -1), on), first_layer=index + 1))
            if progress:
                progress(len(logits), len(layers) * heads)
    return torch.stack(logits).unflatten(0, (len(layers), heads))


def probability_changes(logits: Tensor, logits_without: Tensor, class_index: int) -> Tensor:
    """Logits (K,) of the whole model, (...,K) without heads -> (...): change of the class's probability, -1 to 1."""
    return logits_without.softmax(dim=-1)[..., class_index] - logits.softmax(dim=-1)[class_index]
