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
    return [
        f"{len(splits.train)} training pictures{chosen_on}{measured_on}{classes}",
        f"{config.epochs} epochs x {run.steps_an_epoch} steps of {config.batch_size} pictures{left_over(run)}; {trained / 1e6:.2f} M parameters trained by {config.optimizer}",
        recipe(config),
        augmentation(config),
        f"device {accelerator.device}, {precision(config, accelerator)}, {accelerator.num_processes} process(es)",
        *config.to_the_end(),
        *too_few_snapshots(config),
    ]


def recipe(config: TrainConfig) -> str:
    """The settings that decide what is learned, whoever set them; what is off is left out."""
    rate, decay = f"{config.learning_rate:g}", f"{config.weight_decay:g}"
    if config.optimizer == "muon":
        rate, decay = f"{config.muon_learning_rate:g} (AdamW {rate})", f"{config.muon_weight_decay:g} (AdamW {decay})"
    parts = [f"{config.optimizer} at {rate}", f"{config.schedule} after {config.warmup:.0%} warm-up", f"weight decay {decay}"]
    parts += [f"layer decay {config.layer_decay:g}"] * (config.layer_decay != 1)
    parts += [f"{name} {share:g}" for name, share in (("label smoothing", config.label_smoothing), ("drop path", config.drop_path)) if share]
    if config.patch_dropout:
        parts.append(f"patch dropout {config.patch_dropout:g} until {config.patch_dropout_until:.0%}")
    if mixing := [f"{name} {alpha:g}" for name, alpha in (("mixup", config.mixup), ("cutmix", config.cutmix)) if alpha]:
        parts.append(f"{' and '.join(mixing)} on {config.mix_probability:.0%} of the batches until {config.mix_until:.0%}")
    parts += [f"weight average {config.ema:g}"] * bool(config.ema)
    parts += [f"gradients clipped at {config.clip:g}" if config.clip else "gradients not clipped"] * (config.clip != 1)
    if (blocks := config.train_last_blocks) is not None:
        parts.append(f"frozen but for {f'the last {blocks} layers, the final LayerNorm and ' if blocks else ''}the head")
    from_preset = f" from preset {config.preset}" if config.ANSWERS and config.preset else ""  # pretraining takes only the architecture of one
    return f"recipe{from_preset}: {', '.join(parts)}"


def augmentation(config: TrainConfig) -> str:
    """What is done to each picture by itself before it is learned from."""
    parts = [f"crops of {config.crop_area:.3g} of the area or more"] if config.crop_area < 1 else [f"crop padding {config.crop_padding}"] * bool(config.crop_padding)
    parts += ["flip"] * config.flip
    parts += [f"randaugment {config.randaugment} at magnitude {config.magnitude:g}"] * bool(config.randaugment)
    parts += [f"erasing {config.erasing:g}"] * bool(config.erasing)
    return f"augmentation: {', '.join(parts) or 'none'}"


def precision(config: TrainConfig, accelerator) -> str:
    """Its name, and what it costs where a GPU was to have bf16 and has none."""
    name = named_precision(accelerator.mixed_precision)
    if name == "float32" and config.precision == "auto" and accelerator.device.type == "cuda":
        return f"{name} (this GPU has no bf16 of its own, and fp16 is not offered here: steps in 16 bits would be faster and take less memory)"
    return name


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
