"""A tiny trained-looking model folder, for tests of what comes after training."""

import json
from pathlib import Path

import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

NAMES = ("cat", "dog", "frog")


def save_tiny_model(folder: Path, names=NAMES, metrics: dict | None = None, seed: int = 0) -> Path:
    """16 px pictures, patches of 8, 2 layers; weights are random, with answers that differ from picture to picture."""
    torch.manual_seed(seed)
    config = ViTConfig(image_size=16, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                       intermediate_size=32, initializer_range=0.3, id2label=dict(enumerate(names)),
                       label2id={name: i for i, name in enumerate(names)})
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}, do_convert_rgb=True).save_pretrained(folder)
    if metrics is not None:
        (Path(folder) / "metrics.json").write_text(json.dumps(metrics))
    return Path(folder)


def noise(count: int, size: int = 16, seed: int = 0) -> torch.Tensor:
    """uint8 (count,3,size,size)"""
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def pil(picture: torch.Tensor) -> Image.Image:
    """uint8 (3,H,W) -> PIL"""
    return Image.fromarray(picture.permute(1, 2, 0).numpy())
