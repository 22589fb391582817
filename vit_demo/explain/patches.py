"""Cutting a picture into patches and putting it back (Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1).

Legend: C channels, S picture side in pixels, P patch side in pixels, N patches, row by row from the top left.
"""

import torch
from torch import Tensor


def model_grid(model) -> tuple[int, int]:
    """ViTForImageClassification -> (rows, cols) of patches it cuts its input into."""
    embeddings = model.vit.embeddings.patch_embeddings
    (height, width), (patch_height, patch_width) = embeddings.image_size, embeddings.patch_size
    return height // patch_height, width // patch_width


def patchify(pictures: Tensor, patch_size: int) -> Tensor:
    """(..., C, H, W) -> (..., N, C, P, P), patches in reading order."""
    *lead, channels, height, width = pictures.shape
    if height % patch_size or width % patch_size:
        raise ValueError(f"a {height}x{width} px picture does not divide into {patch_size} px patches")
    rows, cols = height // patch_size, width // patch_size
    cut = pictures.reshape(*lead, channels, rows, patch_size, cols, patch_size)
    return cut.movedim((-4, -2), (-5, -4)).reshape(*lead, rows * cols, channels, patch_size, patch_size)


def unpatchify(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """(..., N, C, P, P) and (rows, cols) -> (..., C, H, W); the exact inverse of patchify."""
    rows, cols = grid
    *lead, count, channels, patch_size, _ = patches.shape
    if count != rows * cols:
        raise ValueError(f"{count} patches do not fill a grid of {rows} rows x {cols} columns")
    laid = patches.reshape(*lead, rows, cols, channels, patch_size, patch_size)
    laid = laid.movedim((-5, -4), (-4, -2))
    return laid.reshape(*lead, channels, rows * patch_size, cols * patch_size)


def unnormalise(values: Tensor, mean, std) -> Tensor:
    """(..., C, h, w) as the model sees them -> as they were before they were normalised. mean, std: (C,) of the processor."""
    mean, std = (torch.as_tensor(numbers, dtype=values.dtype, device=values.device)[:, None, None] for numbers in (mean, std))
    return values * std + mean
