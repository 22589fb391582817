"""Cutting a picture into patches and putting it back (Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1).

Legend: C channels, S picture side in pixels, P patch side in pixels, N patches, row by row from the top left.
"""

from typing import NamedTuple

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


def row_and_col(index: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Patch index (0-based, without CLS) -> (row, col)."""
    if not 0 <= index < grid[0] * grid[1]:
        raise ValueError(f"patch {index} is not on the grid of {grid[0]} x {grid[1]}")
    return divmod(index, grid[1])


def patch_index(row: int, col: int, grid: tuple[int, int]) -> int:
    """(row, col) -> patch index."""
    if not (0 <= row < grid[0] and 0 <= col < grid[1]):
        raise ValueError(f"row {row}, column {col} is not on the grid of {grid[0]} x {grid[1]}")
    return row * grid[1] + col


def patch_box(index: int, grid: tuple[int, int], patch_size: int) -> tuple[int, int, int, int]:
    """Patch index -> (left, top, right, bottom) in pixels of the model's input."""
    row, col = row_and_col(index, grid)
    return col * patch_size, row * patch_size, (col + 1) * patch_size, (row + 1) * patch_size


def _per_channel(statistic, like: Tensor) -> Tensor:
    """(C,) numbers -> (C,1,1) beside `like`."""
    return torch.as_tensor(statistic, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)


def unnormalise(values: Tensor, mean, std) -> Tensor:
    """(..., C, h, w) as the model sees them -> the colours they came from, 0 to 1. mean, std: (C,) of the processor."""
    return values * _per_channel(std, values) + _per_channel(mean, values)


class PixelSteps(NamedTuple):
    """One pixel on its way into the model; each (C,)."""

    byte: Tensor  # 0 to 255
    rescaled: Tensor  # byte x rescale_factor
    normalised: Tensor  # (rescaled - mean) / std


def pixel_steps(byte, rescale_factor: float, mean, std) -> PixelSteps:
    """A pixel's (C,) colour bytes, then after rescaling, then after normalising."""
    byte = torch.as_tensor(byte, dtype=torch.float32)
    rescaled = byte * rescale_factor
    mean, std = torch.as_tensor(mean, dtype=torch.float32), torch.as_tensor(std, dtype=torch.float32)
    return PixelSteps(byte, rescaled, (rescaled - mean) / std)
