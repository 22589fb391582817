"""The batches of one epoch: which pictures, augmented how, mixed with which. Made on the device when asked for.

Legend: B batch (this process's part of one), H W pixels, K classes.
"""

from collections.abc import Iterator

import torch

from training import augment
from training.config import TrainConfig
from training.data import Pictures, epoch_order
from training.randaugment import randaugment


class EpochBatches:
    """The same batches for any number of processes and passes, and from any step on."""

    def __init__(self, pictures: Pictures, config: TrainConfig, epoch: int, view: augment.View):
        self.pictures, self.config, self.view = pictures, config, view
        home = pictures.labels.device  # of all tables of an epoch
        self.order = epoch_order(len(pictures), config.seed, epoch).to(home)
        self.draws = augment.epoch_draws(len(pictures), config.randaugment, config.seed, epoch).to(home)
        plan = augment.mix_plan(config, epoch, len(pictures), config.batch_size)
        self.cut = plan.pop("cut").tolist() if plan else None  # read by the host: it decides which operation runs
        self.plan = {name: tensor.to(home) for name, tensor in plan.items()} if plan else None

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
        labels = self.pictures.labels[own].to(device)
        pixel_values = self.augmented(levels, self.draws[self.wanted(step, part)].to(device))
        partner_labels, share = labels, torch.ones(len(own), device=device)
        if self.plan is not None:
            partner, share, centre = (self.plan[name][step, part] for name in ("partner", "share", "centre"))
            partners = pixel_values[partner.to(device)] if len(own) == len(ids) else pixel_values[len(own) :]
            partner_labels, share, centre = self.pictures.labels[ids[partner]].to(device), share.to(device), centre.to(device)
            pixel_values, share = augment.mix(pixel_values[: len(own)], partners, share, centre, self.cut[step])
        targets = augment.soft_targets(labels, partner_labels, share, len(self.pictures.class_names), self.config.label_smoothing)
        return pixel_values, targets, labels

    def augmented(self, levels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """uint8 (B,3,H,W) and each picture's draws -> (B,3,size,size) as the model sees them."""
        config = self.config
        if config.crop_padding or config.flip:
            padding = round(config.crop_padding * min(levels.shape[-2:]) / 32)
            levels = augment.crop_and_flip(levels, draws, padding, config.flip)
        if config.randaugment:
            levels = randaugment(levels, draws[:, augment.FIRST_OPERATION :], config.magnitude)
        levels = self.view.resized(levels)
        if config.erasing:
            levels = augment.erase(levels, draws, config.erasing)
        return self.view.normalised(levels)


def parts(config: TrainConfig, rank: int, processes: int) -> list[slice]:
    """This process's slices of every batch, one an accumulation pass."""
    each = config.batch_size // (processes * config.accumulation)
    return [slice((a * processes + rank) * each, (a * processes + rank + 1) * each) for a in range(config.accumulation)]
