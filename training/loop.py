"""One epoch of training, one evaluation. No files, no printing: the caller reads what each step yields.

Legend: B batch, K classes.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from training import augment
from training.config import TrainConfig
from training.data import Pictures, epoch_order, seed_for
from training.optim import learning_rate_factor, set_learning_rate
from training.randaugment import randaugment
from vit_demo.errors import UserError


@dataclass(frozen=True, eq=False)
class Step:
    """What one optimiser step did; tensors stay on the device until someone reads them."""

    number: int  # over the whole run, from 0
    loss: torch.Tensor  # mean over this process's share of the batch
    correct: torch.Tensor
    count: int
    learning_rate_factor: float


class EpochBatches:
    """The batches of one epoch, each made on the device when asked for, the same for any number of processes."""

    def __init__(self, pictures: Pictures, config: TrainConfig, epoch: int, size: int, mean: torch.Tensor, std: torch.Tensor):
        self.pictures, self.config, self.size, self.mean, self.std = pictures, config, size, mean, std
        device = pictures.pixels.device
        self.order = epoch_order(len(pictures), config.seed, epoch).to(device)
        self.draws = augment.epoch_draws(len(pictures), config.randaugment, config.seed, epoch).to(device)
        plan = augment.mix_plan(config, epoch, len(pictures), config.batch_size)
        self.cut = plan.pop("cut").tolist() if plan else None  # read by the host: it decides which operation runs
        self.plan = {name: tensor.to(device) for name, tensor in plan.items()} if plan else None

    def __len__(self) -> int:
        return len(self.pictures) // self.config.batch_size

    def augmented(self, ids: torch.Tensor) -> torch.Tensor:
        """(B,) picture numbers -> (B,3,size,size) as the model sees them."""
        draws, pixels = self.draws[ids], self.pictures.pixels[ids]
        if self.config.crop_padding or self.config.flip:
            padding = round(self.config.crop_padding * pixels.shape[-1] / 32)
            pixels = augment.crop_and_flip(pixels, draws, padding, self.config.flip)
        if self.config.randaugment:
            pixels = randaugment(pixels, draws[:, augment.FIRST_OPERATION :], self.config.magnitude)
        pixels = augment.resize(pixels, self.size)
        if self.config.erasing:
            pixels = augment.erase(pixels, draws, self.config.erasing)
        return augment.normalise(pixels, self.mean, self.std)

    def batch(self, step: int, part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Positions `part` of batch `step` -> pixel_values (B,3,size,size), target probabilities (B,K), labels (B,)."""
        ids = self.order[step * self.config.batch_size : (step + 1) * self.config.batch_size]
        own = ids[part]
        pixel_values, labels = self.augmented(own), self.pictures.labels[own]
        partner_labels, share = labels, torch.ones(len(own), device=labels.device)
        if self.plan is not None:
            partner = self.plan["partner"][step, part]
            whole = len(own) == len(ids)  # then the partners are at hand; otherwise they are made again, just the same
            partners = pixel_values[partner] if whole else self.augmented(ids[partner])
            partner_labels = self.pictures.labels[ids[partner]]
            pixel_values, share = augment.mix(pixel_values, partners, self.plan["share"][step, part], self.plan["centre"][step, part], self.cut[step])
        targets = augment.soft_targets(labels, partner_labels, share, len(self.pictures.class_names), self.config.label_smoothing)
        return pixel_values, targets, labels


def parts(config: TrainConfig, rank: int, processes: int) -> list[slice]:
    """This process's slices of every batch, one an accumulation pass."""
    each = config.batch_size // (processes * config.accumulation)
    return [slice((a * processes + rank) * each, (a * processes + rank + 1) * each) for a in range(config.accumulation)]


def train_epoch(model, optimizers, average, batches: EpochBatches, accelerator, epoch: int, total_steps: int, skip: int = 0) -> Iterator[Step]:
    """Yields after every optimiser step, from step `skip` of this epoch on. Raises UserError when the loss is not finite."""
    config = batches.config
    slices = parts(config, accelerator.process_index, accelerator.num_processes)
    trained = [p for p in model.parameters() if p.requires_grad]
    model.train()
    previous: Step | None = None
    for step in range(skip, len(batches)):
        number = epoch * len(batches) + step
        torch.manual_seed(seed_for("step", config.seed, number, accelerator.process_index))
        factor = learning_rate_factor(number, total_steps, config.warmup, config.schedule)
        set_learning_rate(optimizers, factor)
        losses, correct = [], []
        for index, part in enumerate(slices):
            pixel_values, targets, labels = batches.batch(step, part)
            last = index == len(slices) - 1
            with nullcontext() if last else accelerator.no_sync(model):
                logits = model(pixel_values=pixel_values).logits.float()
                loss = F.cross_entropy(logits, targets)
                accelerator.backward(loss / len(slices))
            losses.append(loss.detach())
            correct.append((logits.detach().argmax(1) == labels).sum())
        if config.clip:
            torch.nn.utils.clip_grad_norm_(trained, config.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if average is not None:
            average.update(number)
        check_finite(previous, config)  # one step behind, so that a GPU is never waited for
        previous = Step(number, torch.stack(losses).mean(), torch.stack(correct).sum(), config.batch_size // accelerator.num_processes, factor)
        if previous.loss.device.type == "cpu":
            check_finite(previous, config)
        yield previous
    check_finite(previous, config)


def check_finite(step: Step | None, config: TrainConfig) -> None:
    if step is not None and not torch.isfinite(step.loss):
        rate = max(config.learning_rate, config.muon_learning_rate if config.optimizer == "muon" else 0) * step.learning_rate_factor
        raise UserError(f"the loss is {step.loss.item()} in step {step.number} at learning rate {rate:.2e}: the last saved state is intact; start again with a lower --learning-rate, or more --warmup")


@torch.no_grad()
def evaluate(model, pictures: Pictures, size: int, mean: torch.Tensor, std: torch.Tensor, accelerator, batch_size: int = 500) -> dict:
    """{"loss", "accuracy", "count"} over all processes: right answers and counts are summed, nothing is padded."""
    model.eval()
    device = accelerator.device
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    mine = range(accelerator.process_index * batch_size, len(pictures), accelerator.num_processes * batch_size)
    for start in mine:
        pixels = pictures.pixels[start : start + batch_size].to(device)
        labels = pictures.labels[start : start + batch_size].to(device)
        logits = model(pixel_values=augment.normalise(augment.resize(pixels, size), mean, std)).logits.float()
        loss = F.cross_entropy(logits, labels, reduction="sum")
        sums += torch.stack([loss, (logits.argmax(1) == labels).sum(), torch.tensor(len(labels), device=device)]).double()
    loss, correct, count = accelerator.reduce(sums, "sum").tolist()
    return {"loss": loss / count, "accuracy": correct / count, "count": int(count)}
