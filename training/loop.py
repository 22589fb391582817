"""One epoch of training, one evaluation. No files, no printing: the caller reads what each step yields.

Legend: B batch, K classes.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from training.augment import View
from training.batches import EpochBatches, parts
from training.config import TrainConfig
from training.data import Pictures
from training.draws import seed_for
from training.optim import learning_rate_factor, set_learning_rate, set_patch_dropout
from vit_demo.errors import UserError


@dataclass(frozen=True, eq=False)
class Step:
    """What one optimiser step did; tensors stay on the device until someone reads them."""

    number: int  # over the whole run, from 0
    loss: torch.Tensor  # mean over this process's share of the batch
    correct: torch.Tensor | None  # right answers, where there is something to answer
    count: int
    learning_rate_factor: float


class Watched:
    """A step whose loss is on its way to the host, behind a GPU's work: asked for a step later, it makes nobody wait."""

    def __init__(self, step: Step):
        self.step, self.arrived = step, torch.cuda.Event() if step.loss.is_cuda else None
        self.loss = step.loss.to("cpu", non_blocking=step.loss.is_cuda)
        if self.arrived:
            self.arrived.record()

    def check(self, config: TrainConfig) -> None:
        """Raises UserError when the loss is not finite."""
        if self.arrived:
            self.arrived.synchronize()
        if not torch.isfinite(self.loss):
            raise UserError(diverged(f"the loss is {self.loss.item()}", self.step.number, self.step.learning_rate_factor, config))


def classify(model, pixel_values: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy against target probabilities (B,K), and how many of the labels (B,) were found."""
    logits = model(pixel_values=pixel_values).logits.float()
    return F.cross_entropy(logits, targets), (logits.detach().argmax(1) == labels).sum()


def train_epoch(model, optimizers, average, batches: EpochBatches, accelerator, epoch: int, total_steps: int, skip: int = 0, objective: Callable = classify) -> Iterator[Step]:
    """Yields after every optimiser step, from step `skip` of this epoch on. Raises UserError when the loss is not finite."""
    config = batches.config
    slices = parts(config, accelerator.process_index, accelerator.num_processes)
    passes = batches.passes(skip, slices)
    trained = [p for p in model.parameters() if p.requires_grad]
    model.train()
    set_patch_dropout(model, config.patches_dropped(epoch))
    watched: Watched | None = None
    for step in range(skip, len(batches)):
        number = epoch * len(batches) + step
        torch.manual_seed(seed_for("step", config.seed, number, accelerator.process_index))
        factor = learning_rate_factor(number, total_steps, config.warmup, config.schedule)
        set_learning_rate(optimizers, factor)
        losses, correct = [], []
        for index in range(len(slices)):
            pixel_values, targets, labels = next(passes)
            last = index == len(slices) - 1
            with nullcontext() if last else accelerator.no_sync(model):
                loss, right = objective(model, pixel_values, targets, labels)
                accelerator.backward(loss / len(slices))
            losses.append(loss.detach())
            correct.append(right)
        if config.clip:
            torch.nn.utils.clip_grad_norm_(trained, config.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if average is not None:
            average.update(number)
        if watched and watched.arrived:
            watched.check(config)  # the step before this one
        right = torch.stack(correct).sum() if correct[0] is not None else None
        watched = Watched(Step(number, torch.stack(losses).mean(), right, config.batch_size // accelerator.num_processes, factor))
        if not watched.arrived:
            watched.check(config)
        yield watched.step
    if watched:
        watched.check(config)


def diverged(what: str, step: int, factor: float, config: TrainConfig) -> str:
    rate, lower = f"{config.learning_rate * factor:.2e}", "--learning-rate"
    if config.optimizer == "muon":
        rate, lower = f"{rate} (Muon's {config.muon_learning_rate * factor:.2e})", "--muon-learning-rate or --learning-rate"
    return f"{what} in step {step} at learning rate {rate}: what was saved before is intact; start again with a lower {lower}, or more --warmup"


@torch.no_grad()
def evaluate(model, pictures: Pictures, view: View, accelerator, batch_size: int = 500) -> dict:
    """{"loss", "accuracy", "count"} over all processes: right answers and counts are summed, nothing is padded."""
    model.eval()
    device = accelerator.device
    starts = range(accelerator.process_index * batch_size, len(pictures), accelerator.num_processes * batch_size)
    requests = [torch.arange(start, min(start + batch_size, len(pictures)), device=pictures.labels.device) for start in starts]
    sums = torch.zeros(3, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    for ids, levels in zip(requests, pictures.feed(requests), strict=True):
        labels = pictures.labels[ids].to(device)
        logits = model(pixel_values=view.normalised(view.resized(levels))).logits.float()
        loss = F.cross_entropy(logits, labels, reduction="sum")
        sums[:2] += torch.stack([loss, (logits.argmax(1) == labels).sum()])
        sums[2] += len(labels)
    loss, correct, count = accelerator.reduce(sums, "sum").tolist()
    return {"loss": loss / count, "accuracy": correct / count, "count": int(count)}
