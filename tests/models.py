"""Small random ViT classifiers of any shape, saved as the library saves them."""

from pathlib import Path

import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def save_model(folder: Path, size=(32, 32), patch=4, dtype=torch.float32, **settings) -> Path:
    torch.manual_seed(0)
    config = ViTConfig(image_size=list(size) if size[0] != size[1] else size[0], patch_size=patch, hidden_size=48,
                       num_hidden_layers=3, num_attention_heads=3, intermediate_size=96, initializer_range=0.2,
                       id2label=dict(enumerate(LABELS)), label2id={n: i for i, n in enumerate(LABELS)}, **settings)
    ViTForImageClassification(config).to(dtype).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": size[0], "width": size[1]}, image_mean=[0.4, 0.5, 0.6],
                         do_convert_rgb=True).save_pretrained(folder)
    return folder


def where_it_lies(code: str, folder: Path) -> str:
    """A snippet about a model of the reader's own, its first line put right as the reader has to."""
    line, rest = code.split("\n", 1)
    assert line == f'folder = "{folder.name}"  # where the model\'s folder lies on your machine'
    return f"folder = {str(folder)!r}\n{rest}"
