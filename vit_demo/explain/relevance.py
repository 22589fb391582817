"""Which patches speak for a class: maps from attention and from gradients.

Each map takes a model, its pixel_values (1,C,S,S) and a target (K,), and gives one number a patch, (N,): above 0 for
the target, below 0 against it, where the method knows a sign. The target's dot product with the logits is what is
explained: one logit ("why cat?") or the difference of two ("why cat, not dog?").

Legend: L layers, H heads, T = N + 1 tokens, N patches, D width, K classes, S picture side, C channels.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vit_demo.explain.attention import rollout
from vit_demo.explain.attribution import Attribution
from vit_demo.explain.patches import model_grid
from vit_demo.explain.quadrature import gauss_legendre
from vit_demo.explain.tokens import Progress, at_once, embed, head


def target(model, wanted: int, against: int | None = None) -> Tensor:
    """Class index, and perhaps another to tell it from -> (K,): 1 at the one, -1 at the other, else 0."""
    weights = torch.zeros_like(model.classifier.bias, requires_grad=False)
    weights[wanted] += 1
    if against is not None:
        weights[against] -= 1
    return weights


def _attentions(outputs) -> tuple[Tensor, ...]:
    """Model outputs -> L times (B,H,T,T)."""
    if not outputs.attentions:
        raise ValueError("the model returned no attention: load it with attn_implementation='eager'")
    return outputs.attentions


@torch.no_grad()
def attention_map(model, pixel_values: Tensor, target: Tensor) -> Tensor:
    """CLS attention of the last layer, mean of its heads; the same for every target. (N,), 0 or above."""
    return _attentions(model(pixel_values, output_attentions=True))[-1][0].mean(dim=0)[0, 1:]


@torch.no_grad()
def rollout_map(model, pixel_values: Tensor, target: Tensor) -> Tensor:
    """CLS row of attention rollout (arXiv:2005.00928); the same for every target. (N,), 0 or above."""
    return rollout(torch.cat(_attentions(model(pixel_values, output_attentions=True))))[0, 1:]


@torch.enable_grad()
def chefer_map(model, pixel_values: Tensor, target: Tensor) -> Tensor:
    """Gradient x attention through all layers, without LRP: Chefer et al. 2021, arXiv:2103.15679, eq. 5 and 6.

    R = identity; each layer adds mean over heads of (gradient * attention, below 0 cut) @ R; the CLS row is the map.
    (N,), 0 or above.
    """
    outputs = model(pixel_values.detach().requires_grad_(), output_attentions=True)
    attentions = _attentions(outputs)
    gradients = torch.autograd.grad(outputs.logits[0] @ target, attentions)
    relevance = torch.eye(attentions[0].shape[-1], dtype=target.dtype, device=target.device)
    for attention, gradient in zip(attentions, gradients, strict=True):
        relevance = relevance + (gradient * attention.detach())[0].clamp(min=0).mean(dim=0) @ relevance
    return relevance[0, 1:]


@torch.enable_grad()
def _last_tokens(model, pixel_values: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Patch tokens (N,D) that the last layer's attention reads, and the target's gradient with respect to them (N,D)."""
    hidden = embed(model, pixel_values)
    *earlier, last = model.vit.layers
    with torch.no_grad():
        for layer in earlier:
            hidden = layer(hidden, None)
        tokens = last.layernorm_before(hidden)
    tokens = tokens.requires_grad_()
    hidden = hidden + last.attention(tokens, None)[0]
    hidden = hidden + last.mlp(last.layernorm_after(hidden))
    (gradient,) = torch.autograd.grad(head(model, hidden[0, 0]) @ target, tokens)
    return tokens[0, 1:].detach(), gradient[0, 1:]


def gradcam_map(model, pixel_values: Tensor, target: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) on the last layer's normalised tokens, as pytorch-grad-cam
    does for ViTs: channels weighted by their mean gradient. (N,), signed; the paper's picture cuts below 0."""
    tokens, gradient = _last_tokens(model, pixel_values, target)
    return tokens @ gradient.mean(dim=0)


def cdam_map(model, pixel_values: Tensor, target: Tensor) -> Tensor:
    """Token x its own gradient at the last layer: Brocki et al. 2023, arXiv:2312.02364. (N,), signed."""
    tokens, gradient = _last_tokens(model, pixel_values, target)
    return (tokens * gradient).sum(dim=-1)


class IntegratedGradients(NamedTuple):
    """Attributions whose sum should be the target's change from the baseline to the picture."""

    pixels: Tensor  # (C,S,S), signed
    patches: Tensor  # (N,), their sums in each patch
    change: float  # target at the picture minus target at the baseline
    gap: float  # pixels.sum() - change: 0 with infinitely many steps


@torch.enable_grad()
def integrated_gradients(
    model,
    pixel_values: Tensor,
    target: Tensor,
    steps: int = 32,
    baseline: Tensor | None = None,
    batch: int = 4,
    progress: Progress | None = None,
) -> IntegratedGradients:
    """Sundararajan et al. 2017, arXiv:1703.01365, Gauss-Legendre. baseline (1,C,S,S): the colour that the processor makes 0, unless given."""
    baseline = torch.zeros_like(pixel_values) if baseline is None else baseline
    difference = (pixel_values - baseline).detach()
    total = torch.zeros_like(difference[0])
    points, weights = gauss_legendre(steps, total)
    done, batch = 0, min(batch, at_once(model, math.prod(model_grid(model)) + 1, len(model.vit.layers)))
    for share, weight in zip(points.split(batch), weights.split(batch), strict=True):
        between = (baseline + share[:, None, None, None] * difference).detach().requires_grad_()
        (gradient,) = torch.autograd.grad((model(between).logits @ target).sum(), between)
        total += (weight[:, None, None, None] * gradient).sum(dim=0)
        done += len(share)
        if progress:
            progress(done, steps)
    pixels = total * difference[0]
    with torch.no_grad():
        after, before = ((model(end).logits[0] @ target).item() for end in (pixel_values, baseline))
    rows, cols = model_grid(model)
    patches = pixels.sum(dim=0).unflatten(0, (rows, -1)).unflatten(-1, (cols, -1)).sum(dim=(1, 3)).flatten()
    return IntegratedGradients(pixels, patches, after - before, pixels.sum().item() - (after - before))


def integrated_patches(model, pixel_values: Tensor, target: Tensor, progress: Progress | None = None) -> Attribution:
    """Integrated gradients summed in each patch."""
    found = integrated_gradients(model, pixel_values, target, progress=progress)
    return Attribution(found.patches, found.change, found.gap)
