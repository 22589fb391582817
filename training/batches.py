"""The batches of one epoch: which pictures, augmented how, mixed with which. Made on the device when asked for.

Legend: B batch (this process's part of one), H W pixels, K classes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from training import augment
from training.config import TrainConfig
from training.data import Pictures
from training.draws import epoch_order
from training.randaugment import randaugment


@dataclass(frozen=True, eq=False)
class Tables:
    """All that is drawn for an epoch."""

    order: torch.Tensor  # (M,)
    draws: torch.Tensor  # (M, draws)
    cut: list[bool] | None  # a batch: read by the host, since it decides which operation runs
    plan: dict[str, torch.Tensor] | None


@dataclass(frozen=True, eq=False)
class Mixed:
    """Whom each picture of a pass is mixed with, and how."""

    partner: torch.Tensor | None  # (B,) places in the batch; None where the partners come after it
    labels: torch.Tensor  # (B,) of the partners
    share: torch.Tensor  # (B,) of oneself
    centre: torch.Tensor  # (B,2) of the box
    cut: bool  # cutmix, otherwise mixup


def draw(config: TrainConfig, count: int, epoch: int, home: torch.device) -> Tables:
    """An epoch's tables for `count` pictures, on the device `home`."""

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory().to(home, non_blocking=True) if home.type == "cuda" else tensor.to(home)

    plan = augment.mix_plan(config, epoch, count, config.batch_size)
    cut = plan.pop("cut").tolist() if plan else None
    order, draws = epoch_order(count, config.seed, epoch), augment.epoch_draws(count, config.randaugment, config.seed, epoch, config.crop_area < 1)
    return Tables(moved(order), moved(draws), cut, {name: moved(tensor) for name, tensor in plan.items()} if plan else None)


class Ahead:
    """Draws the next epoch's tables while a GPU works on this one's."""

    def __init__(self, config: TrainConfig, count: int, home: torch.device):
        self.given, self.home = (config, count), home
        self.pool = ThreadPoolExecutor(1)
        self.next: tuple[int, Future] | None = None

    def tables(self, epoch: int) -> Tables:
        drawn = self.next[1].result() if self.next and self.next[0] == epoch else draw(*self.given, epoch, self.home)
        if self.home.type == "cuda" and epoch + 1 < self.given[0].epochs:
            self.next = epoch + 1, self.pool.submit(draw, *self.given, epoch + 1, self.home)
        return drawn


def augmented(levels: torch.Tensor, draws: torch.Tensor, config: TrainConfig, view: augment.View) -> torch.Tensor:
    """uint8 (B,3,H,W) and each picture's draws -> (B,3,size,size) as the model sees them."""
    if config.crop_area < 1:
        levels = augment.resized_window(levels, draws, config.crop_area, config.flip, view.size)
    elif config.crop_padding or config.flip:
        side = min(levels.shape[-2:])
        padding = min(round(config.crop_padding * side / 32), side - 1)  # as much as a mirror shows
        levels = augment.crop_and_flip(levels, draws, padding, config.flip)
    if config.randaugment:
        drawn = draws[:, augment.FIRST_OPERATION :][:, : augment.DRAWS_AN_OPERATION * config.randaugment]
        levels = randaugment(levels, drawn, config.magnitude)
    levels = view.resized(levels)
    if config.erasing:
        levels = augment.erase(levels, draws, config.erasing)
    return view.normalised(levels)


def made(levels: torch.Tensor, draws: torch.Tensor, labels: torch.Tensor, mixed: Mixed | None, config: TrainConfig, view: augment.View, classes: int):
    """uint8 (B,3,H,W), draws, labels -> pixel_values (B,3,size,size), target probabilities (B,K). `levels` and `draws` may go on
    with the partners' after those of the labels. Compiled on a GPU, where the many small steps would take longer to start than to do."""
    pixel_values = augmented(levels, draws, config, view)
    if mixed is None:
        return pixel_values, augment.soft_targets(labels, labels, torch.ones(len(labels), device=labels.device), classes, config.label_smoothing)
    partners = pixel_values[len(labels) :] if mixed.partner is None else pixel_values[mixed.partner]
    pixel_values, share = augment.mix(pixel_values[: len(labels)], partners, mixed.share, mixed.centre, mixed.cut)
    return pixel_values, augment.soft_targets(labels, mixed.labels, share, classes, config.label_smoothing)


class EpochBatches:
    """The same batches for any number of processes and passes, and from any step on."""

    def __init__(self, pictures: Pictures, config: TrainConfig, epoch: int, view: augment.View, tables: Tables | None = None, made: Callable = made):
        self.pictures, self.config, self.view, self.make = pictures, config, view, made
        tables = tables or draw(config, len(pictures), epoch, pictures.labels.device)
        self.order, self.draws, self.cut, self.plan = tables.order, tables.draws, tables.cut, tables.plan

    def __len__(self) -> int:
        return len(self.pictures) // self.config.batch_size

    def ids(self, step: int) -> torch.Tensor:
        """(batch size,) numbers of the pictures of a step, over all processes."""
        return self.order[step * self.config.batch_size : (step + 1) * self.config.batch_size]

    def wanted(self, step: int, part: slice) -> torch.Tensor:
        """Numbers of the pictures that `part` of a step is made of: its own, then their partners where those are not among them."""
        ids = self.ids(step)
        own = ids[part]
        return own if self.plan is None or len(own) == len(ids) else torch.cat([own, ids[self.plan["partner"][step, part]]])

    def passes(self, skip: int, parts: list[slice]) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Every part of every step from `skip` on, in order: pixel_values (B,3,H,W), target probabilities (B,K), labels (B,)."""
        places = [(step, part) for step in range(skip, len(self)) for part in parts]
        pixels = self.pictures.feed(self.wanted(step, part) for step, part in places)
        return (self.made(step, part, levels) for (step, part), levels in zip(places, pixels, strict=True))

    def made(self, step: int, part: slice, levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Grey levels of the wanted pictures -> one pass's input."""
        ids, device = self.ids(step), levels.device
        own = ids[part]
        labels, draws = self.pictures.labels[own].to(device), self.draws[self.wanted(step, part)].to(device)
        mixed = None
        if self.plan is not None:
            partner, share, centre = (self.plan[name][step, part] for name in ("partner", "share", "centre"))
            among = partner.to(device) if len(own) == len(ids) else None
            mixed = Mixed(among, self.pictures.labels[ids[partner]].to(device), share.to(device), centre.to(device), self.cut[step])
        return *self.make(levels, draws, labels, mixed, self.config, self.view, len(self.pictures.class_names)), labels


def parts(config: TrainConfig, rank: int, processes: int) -> list[slice]:
    """This process's slices of every batch, one an accumulation pass."""
    each = config.batch_size // (processes * config.accumulation)
    return [slice((a * processes + rank) * each, (a * processes + rank + 1) * each) for a in range(config.accumulation)]
