"""RandAugment-like operations on a whole batch, each picture with its own (Cubuk et al. 2019, arXiv:1909.13719).

The geometric operations of a picture become one affine map and one resampling; colour operations are closed forms chosen
by mask. Legend: B batch, C 3 channels, H W pixels; grey levels 0..255.
"""

import math

import torch
import torch.nn.functional as F

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
GREY = 127.5  # fills what an affine map uncovers


def grey(pixels: torch.Tensor) -> torch.Tensor:
    """(B,3,H,W) -> (B,1,H,W): how bright each pixel is."""
    return (pixels * pixels.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


def blurred(pixels: torch.Tensor) -> torch.Tensor:
    """(B,C,H,W) -> (B,C,H,W): the mean of each pixel and the eight around it."""
    return F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def away_from(plain: torch.Tensor, pixels: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Strength -1: nearly `plain` instead of the picture; 0: the picture; 1: nearly twice as far from plain."""
    return torch.lerp(plain.expand_as(pixels), pixels, 1 + 0.9 * strength)


def posterize(pixels: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """(B,C,H,W), strength (B,1,1,1) -> (B,C,H,W) in steps of 1, 2, 4, 8 or 16 levels."""
    step = 2 ** (4 * strength.abs()).round()
    return (pixels / step).floor() * step


def autocontrast(pixels: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """(B,C,H,W) -> (B,C,H,W): each channel stretched to 0..255; strength changes nothing."""
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    return torch.where(high > low, (pixels - low) * (255 / (high - low).clamp(min=1)), pixels)


COLOUR = {  # pixels (B,C,H,W), strength (B,1,1,1) in -1..1
    "brightness": lambda pixels, strength: pixels * (1 + 0.9 * strength),
    "contrast": lambda pixels, strength: away_from(grey(pixels).mean((2, 3), keepdim=True), pixels, strength),
    "saturation": lambda pixels, strength: away_from(grey(pixels), pixels, strength),
    "sharpness": lambda pixels, strength: away_from(blurred(pixels), pixels, strength),
    "posterize": posterize,
    "solarize": lambda pixels, strength: torch.where(pixels >= 256 * (1 - strength.abs()), 255 - pixels, pixels),
    "autocontrast": autocontrast,
}
OPERATIONS = ("identity", *GEOMETRIC, *COLOUR)


def randaugment(pixels: torch.Tensor, draws: torch.Tensor, magnitude: float) -> torch.Tensor:
    """(B,C,H,W) levels, draws (B, 3 x operations) in [0,1): which, how strong, which sign -> (B,C,H,W) float, whole levels."""
    slots = draws.view(len(draws), -1, 3)
    chosen = (slots[..., 0] * len(OPERATIONS)).long()
    strength = magnitude * slots[..., 1] * torch.where(slots[..., 2] < 0.5, -1.0, 1.0)  # -magnitude..magnitude
    pixels = warp(pixels.float(), affine(chosen, strength)).round()
    for slot in range(chosen.shape[1]):
        pixels = colour(pixels, chosen[:, slot], strength[:, slot]).round()
    return pixels


def affine(chosen: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """(B,S) operation numbers and strengths -> (B,2,3): the product of each picture's geometric operations."""
    batch = len(chosen)
    total = torch.eye(3, device=chosen.device).repeat(batch, 1, 1)
    for slot in range(chosen.shape[1]):
        amount = [torch.where(chosen[:, slot] == OPERATIONS.index(name), strength[:, slot], 0.0) for name in GEOMETRIC]
        angle, shear_x, shear_y, shift_x, shift_y = (a * f for a, f in zip(amount, (math.pi / 3, 0.6, 0.6, 0.6, 0.6)))
        cosine, sine, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
        rows = [cosine, -sine + shear_x, shift_x, sine + shear_y, cosine, shift_y, zero, zero, one]
        total = total @ torch.stack(rows, 1).view(batch, 3, 3)
    return total[:, :2]


def warp(pixels: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Resample (bilinear) along the affine map; what it uncovers is grey."""
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels - GREY, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + GREY


def colour(pixels: torch.Tensor, chosen: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """One colour operation a picture; a geometric one or identity leaves it as it is.

    On the CPU each operation sees only its own pictures; on a GPU all of them, for asking which would wait for the device.
    """
    pixels, strength = pixels.clone(), strength[:, None, None, None]
    for name, operation in COLOUR.items():
        mine = chosen == OPERATIONS.index(name)
        if pixels.device.type == "cpu":
            pixels[mine] = operation(pixels[mine], strength[mine])
        else:
            pixels = torch.where(mine[:, None, None, None], operation(pixels, strength), pixels)
    return pixels.clamp(0, 255)
