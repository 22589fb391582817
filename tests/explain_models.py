"""Small ViTs with random weights, large enough that attention is far from uniform, and a picture for each."""

from functools import cache

import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

SHAPES = {
    "32/4": dict(image_size=32, patch_size=4, num_hidden_layers=3, num_attention_heads=3, num_labels=10),
    "224/16": dict(image_size=224, patch_size=16, num_hidden_layers=2, num_attention_heads=4, num_labels=7),
    "16x24/4": dict(image_size=[16, 24], patch_size=4, num_hidden_layers=2, num_attention_heads=2, num_labels=3,
                    qkv_bias=False, layer_norm_eps=1e-3),
}


@cache
def model(name: str, attention: str = "eager") -> ViTForImageClassification:
    """Shared by all tests: deepcopy it before changing it."""
    return random_vit(attn_implementation=attention, **SHAPES[name])


def random_vit(**shape) -> ViTForImageClassification:
    config = ViTConfig(hidden_size=48, intermediate_size=96, **shape)
    vit = ViTForImageClassification(config).eval()
    generator = torch.Generator().manual_seed(0)

    def draw(tensor, mean, std):
        tensor.data.copy_(torch.randn(tensor.shape, generator=generator) * std + mean)

    for module in vit.modules():
        if isinstance(module, nn.LayerNorm):
            draw(module.weight, 1, 0.3), draw(module.bias, 0, 0.3)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            draw(module.weight, 0, 2.0 * module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                draw(module.bias, 0, 0.3)
    draw(vit.vit.embeddings.cls_token, 0, 1)
    draw(vit.vit.embeddings.position_embeddings, 0, 1)
    return vit.requires_grad_(False)


@cache
def pixels(name: str) -> torch.Tensor:
    """(1,3,H,W) as a processor would give it."""
    height, width = model(name).vit.embeddings.image_size
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@cache
def outputs(name: str):
    """What transformers itself computes: logits, attentions, hidden_states."""
    with torch.no_grad():
        return model(name)(pixels(name), output_attentions=True, output_hidden_states=True)


def residual_stream(name: str) -> torch.Tensor:
    """(L+1,T,D)"""
    return torch.cat(outputs(name).hidden_states)
