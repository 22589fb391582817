"""Augmentation, batched on the device: every picture has its own draw, made from (seed, epoch, index).

One table of uniform numbers an epoch holds all draws; a picture reads the row of its index, so neither batch size,
process count nor a resumption changes what it gets. Legend: B batch, C 3 channels, H W pixels, K classes.
"""

import math
from dataclasses import dataclass

import numpy
import torch
import torch.nn.functional as F
from PIL.Image import Resampling

from training.draws import seed_for

CROP_Y, CROP_X, FLIP, ERASE, ERASE_AREA, ERASE_RATIO, ERASE_Y, ERASE_X, FIRST_OPERATION = range(9)
DRAWS_AN_OPERATION = 3  # which, how strong, which sign
WINDOW_AREA, WINDOW_RATIO = -2, -1  # at the end, where windows are drawn at all: runs without draw what they always drew


def epoch_draws(count: int, operations: int, seed: int, epoch: int, windows: bool = False) -> torch.Tensor:
    """(count, draws) float32 in [0,1): row i belongs to picture i in this epoch."""
    generator = torch.Generator().manual_seed(seed_for("augment", seed, epoch))
    return torch.rand(count, FIRST_OPERATION + DRAWS_AN_OPERATION * operations + 2 * windows, generator=generator)


def reflect(index: torch.Tensor, size: int) -> torch.Tensor:
    """Mirror indices that lie outside 0..size-1 at the borders."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def crop_and_flip(pixels: torch.Tensor, draws: torch.Tensor, padding: int, flip: bool) -> torch.Tensor:
    """(B,C,H,W) -> same: a random window of the picture reflected `padding` px outwards, half of them mirrored."""
    batch, channels, height, width = pixels.shape
    shift_y = (draws[:, CROP_Y] * (2 * padding + 1)).long() - padding
    shift_x = (draws[:, CROP_X] * (2 * padding + 1)).long() - padding
    rows = reflect(torch.arange(height, device=pixels.device) + shift_y[:, None], height)
    columns = reflect(torch.arange(width, device=pixels.device) + shift_x[:, None], width)
    if flip:
        columns = torch.where(draws[:, FLIP, None] < 0.5, columns.flip(1), columns)
    flat = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, -1).expand(-1, channels, -1)
    return pixels.flatten(2).gather(2, flat).view(batch, channels, height, width)


def resized_window(pixels: torch.Tensor, draws: torch.Tensor, least: float, flip: bool, size: int) -> torch.Tensor:
    """(B,C,H,W) grey levels -> (B,C,size,size) float, whole levels: a random window of each picture, with `least` to all of its area and sides
    as 3:4 to 4:3 (Szegedy et al. 2015, arXiv:1409.4842, section 6), half of them mirrored; resized as Pillow does, bilinearly."""
    height, width = pixels.shape[-2:]
    area = (least + (1 - least) * draws[:, WINDOW_AREA]) * height * width
    ratio = torch.exp((2 * draws[:, WINDOW_RATIO] - 1) * math.log(4 / 3))
    tall, wide = (area / ratio).sqrt().clamp(1, height), (area * ratio).sqrt().clamp(1, width)
    rows = taps(draws[:, CROP_Y] * (height - tall), tall, height, size)
    columns = taps(draws[:, CROP_X] * (width - wide), wide, width, size)
    if flip:
        columns = torch.where(draws[:, FLIP, None, None] < 0.5, columns.flip(1), columns)
    return (rows[:, None] @ pixels.float() @ columns.mT[:, None]).round().clamp(0, 255)


def taps(start: torch.Tensor, length: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """(B,) windows on a line of `count` pixels -> (B,size,count): how much of each pixel goes into each of `size`; rows sum to 1."""
    pixel = torch.arange(count, device=start.device) + 0.5
    start, length = start[:, None, None], length[:, None, None]
    centre = start + (torch.arange(size, device=start.device)[None, :, None] + 0.5) * length / size
    weight = (1 - (pixel - centre).abs() / (length / size).clamp(min=1)).clamp(min=0)
    weight = weight * ((pixel >= start) & (pixel <= start + length))  # nothing from beside the window
    return weight / weight.sum(2, keepdim=True)


def resize(pixels: torch.Tensor, size: int, resample: int = Resampling.BILINEAR) -> torch.Tensor:
    """(B,C,H,W) grey levels 0..255 -> (B,C,size,size) float, whole levels; within one level of the processor's."""
    if pixels.shape[-2:] == (size, size):
        return pixels.float()
    if resample == Resampling.NEAREST:
        return F.interpolate(pixels.float(), (size, size), mode="nearest-exact")
    if resample == Resampling.BICUBIC:  # it overshoots, and Pillow cuts that off after each direction
        across = F.interpolate(pixels.float(), (pixels.shape[-2], size), mode="bicubic", antialias=True).round().clamp(0, 255)
        return F.interpolate(across, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255)
    shrinking = max(pixels.shape[-2:]) > size
    return F.interpolate(pixels.float(), (size, size), mode="bilinear", antialias=shrinking).round().clamp(0, 255)


@dataclass(frozen=True, eq=False)
class View:
    """What a processor does to a picture, for a batch on the device."""

    size: int
    resample: int
    mean: torch.Tensor  # (3,)
    std: torch.Tensor

    @classmethod
    def of(cls, processor, device: torch.device) -> "View":
        mean, std = (torch.tensor(values, device=device) for values in (processor.image_mean, processor.image_std))
        return cls(processor.size["height"], processor.resample, mean, std)

    def resized(self, levels: torch.Tensor) -> torch.Tensor:
        return resize(levels, self.size, self.resample)

    def normalised(self, levels: torch.Tensor) -> torch.Tensor:
        return normalise(levels, self.mean, self.std)


def erase(pixels: torch.Tensor, draws: torch.Tensor, chance: float) -> torch.Tensor:
    """Random erasing (Zhong et al. 2017, arXiv:1708.04896): a rectangle of 2 to 33 % of the area, ratio 0.3 to 3.3, set to grey."""
    height, width = pixels.shape[-2:]
    area = (0.02 + 0.31 * draws[:, ERASE_AREA]) * height * width
    ratio = torch.exp((2 * draws[:, ERASE_RATIO] - 1) * 1.194)
    tall, wide = (area * ratio).sqrt().clamp(max=height), (area / ratio).sqrt().clamp(max=width)
    top, left = draws[:, ERASE_Y] * (height - tall), draws[:, ERASE_X] * (width - wide)
    box = rectangle(top, left, top + tall, left + wide, height, width) & (draws[:, ERASE] < chance)[:, None, None]
    return torch.where(box[:, None], torch.full_like(pixels, 127.5), pixels)


def rectangle(top, left, bottom, right, height: int, width: int) -> torch.Tensor:
    """(B,) bounds in pixels -> (B,H,W) bool."""
    y = torch.arange(height, device=top.device)[None, :, None]
    x = torch.arange(width, device=top.device)[None, None, :]
    inside_y = (y >= top[:, None, None].round()) & (y < bottom[:, None, None].round())
    return inside_y & (x >= left[:, None, None].round()) & (x < right[:, None, None].round())


def normalise(pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """(B,3,H,W) grey levels 0..255 -> what the model sees; mean and std (3,)."""
    return (pixels / 255 - mean[:, None, None]) / std[:, None, None]


def mix_plan(config, epoch: int, count: int, batch_size: int) -> dict | None:
    """This epoch's mixing, by global position in the epoch: partner (M,), share (M,) of oneself, cut (batches,), box centres (M,2).

    mixup: Zhang et al. 2018, arXiv:1710.09412; cutmix: Yun et al. 2019, arXiv:1905.04899.
    """
    if not (config.mixup or config.cutmix) or epoch >= config.mix_until * config.epochs:
        return None
    rng = numpy.random.default_rng(seed_for("mix", config.seed, epoch))
    batches = count // batch_size
    mixed = rng.random(batches) < config.mix_probability
    cut = rng.random(batches) < (0.5 if config.mixup and config.cutmix else float(config.cutmix > 0))
    partner = numpy.argsort(rng.random((batches, batch_size)), axis=1)
    share = numpy.where(cut[:, None], rng.beta(config.cutmix or 1, config.cutmix or 1, (batches, batch_size)),
                        rng.beta(config.mixup or 1, config.mixup or 1, (batches, batch_size)))
    share[~mixed] = 1.0
    centre = rng.random((batches, batch_size, 2))
    tensors = {"partner": partner, "share": share.astype("float32"), "cut": cut, "centre": centre.astype("float32")}
    return {name: torch.from_numpy(value) for name, value in tensors.items()}


def mix(pixels: torch.Tensor, partners: torch.Tensor, share: torch.Tensor, centre: torch.Tensor, cut: bool):
    """(B,C,H,W) twice -> mixed pictures and the share (B,) of each picture that is still its own."""
    if not cut:
        return torch.lerp(partners, pixels, share[:, None, None, None]), share
    height, width = pixels.shape[-2:]
    side = (1 - share).sqrt()
    top, bottom = (centre[:, 0] - side / 2).clamp(min=0) * height, (centre[:, 0] + side / 2).clamp(max=1) * height
    left, right = (centre[:, 1] - side / 2).clamp(min=0) * width, (centre[:, 1] + side / 2).clamp(max=1) * width
    box = rectangle(top, left, bottom, right, height, width)
    return torch.where(box[:, None], partners, pixels), 1 - box.float().mean((1, 2))


def soft_targets(labels: torch.Tensor, partner_labels: torch.Tensor, share: torch.Tensor, classes: int, smoothing: float) -> torch.Tensor:
    """(B,K) target probabilities: the mix of two smoothed one-hot rows."""
    own, other = F.one_hot(labels, classes).float(), F.one_hot(partner_labels, classes).float()
    return torch.lerp(other, own, share[:, None]) * (1 - smoothing) + smoothing / classes
