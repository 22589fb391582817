"""What a run will do, and what it will take."""

import sys
import time
from itertools import islice

import psutil
import torch

from training.card_words import duration
from training.config import TrainConfig
from training.outcome import snapshot_epochs
from training.run import Run, named_precision

TRIALS = 4  # the first is slow: it starts everything


def plan(run: Run) -> list[str]:
    """What will happen, in lines."""
    config, splits, accelerator = run.config, run.splits, run.accelerator
    trained = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    names = splits.train.class_names
    classes = f"; {len(names)} classes: {', '.join(names[:10])}{', …' if len(names) > 10 else ''}" if config.ANSWERS else ""
    chosen_on = f", {len(splits.validation)} to choose on" if splits.validation is not None else ""
    again = splits.held_out_part == "validation" and chosen_on  # they are told already
    measured_on = f", {len(splits.held_out)} {'test' if splits.held_out_part == 'test' else 'held out to measure on'}" if splits.held_out is not None and not again else ""
    precision = named_precision(accelerator.mixed_precision)
    return [
        f"{len(splits.train)} training pictures{chosen_on}{measured_on}{classes}",
        f"{config.epochs} epochs x {run.steps_an_epoch} steps of {config.batch_size} pictures{left_over(run)}; {trained / 1e6:.2f} M parameters trained by {config.optimizer}",
        f"device {accelerator.device}, {precision}, {accelerator.num_processes} process(es)",
        *config.to_the_end(),
        *too_few_snapshots(config),
    ]


def left_over(run: Run) -> str:
    over = len(run.splits.train) - run.steps_an_epoch * run.config.batch_size
    return f" ({over} others each time are left over)" if over else ""


def too_few_snapshots(config: TrainConfig) -> list[str]:
    """A line where fewer are kept than were asked for."""
    if (kept := len(snapshot_epochs(config))) == config.snapshots:
        return []
    return [f"--snapshots {config.snapshots} keeps {kept or 'none'}: with --epochs {config.epochs} no more epochs come before the last, whose weights are the model itself"]


def estimate(run: Run) -> str:
    """Time and memory of what is left of the run, from a few real steps. The weights change, so only a dry run may ask."""
    if run.finished:
        return "no step is left: the model is to be measured and written"
    cuda, config, done = run.accelerator.device.type == "cuda", run.config, run.progress.step
    first, skip = divmod(done, run.steps_an_epoch)
    epochs = {config.patches_dropped(epoch): epoch for epoch in range(first, config.epochs)}  # those of one kind take the same time
    seconds = {dropped: seconds_a_step(run, epoch) for dropped, epoch in epochs.items()}
    total = sum(seconds[config.patches_dropped(epoch)] * (run.steps_an_epoch - (skip if epoch == first else 0)) for epoch in range(first, config.epochs))
    memory = torch.cuda.max_memory_allocated() if cuda else peak_memory()
    speed = (run.total_steps - done) * config.batch_size / total
    return f"about {duration(max(1, total))}{' more' if done else ''} ({speed:.0f} images/s) and {memory / 2**30:.1f} GB of {'GPU ' if cuda else ''}memory, from {len(epochs) * min(TRIALS, run.steps_an_epoch)} trial steps"


def seconds_a_step(run: Run, epoch: int) -> float:
    """The shortest of a few steps of this epoch."""
    times, started = [], time.monotonic()
    for step in islice(run.epoch(epoch), TRIALS):
        step.loss.item()
        times.append(time.monotonic() - started)
        started = time.monotonic()
    return min(times)


def peak_memory() -> int:
    """Bytes this process has held at most."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
