"""Fine-tune a Vision Transformer, or train one from scratch, and write a measured, documented model.

    accelerate launch -m training.train --dataset uoft-cs/cifar10 --model google/vit-base-patch16-224-in21k --output runs/vit-b16
"""

import shlex
import sys
import time
from pathlib import Path

import torch
from transformers.utils import logging

from training import loop, outcome
from training.config import TrainConfig, parse_config, save_config
from training.data import load_splits
from training.interrupt import STOPPED, Interrupt
from training.model import input_size
from training.progress import Meter
from training.run import Run, make_accelerator, start
from vit_demo.errors import UserError


def main(argv: list[str] | None = None) -> Path:
    """Train as the command line says; returns the output folder. Raises UserError, or SystemExit(130) when asked to stop."""
    config = parse_config(argv)
    check_output(config)
    accelerator = make_accelerator(config)
    splits = load_splits(config, input_size(config), progress=accelerator.is_main_process)
    run = start(config, accelerator, splits)
    for line in run.said + run.plan():
        accelerator.print(line)
    if config.dry_run:
        accelerator.print(run.estimate())
        return run.output
    if config.resume:
        run.resume()
    elif accelerator.is_main_process:
        run.output.mkdir(parents=True, exist_ok=True)
        save_config(config, run.output / "train.yaml")
    if config.tracker:
        accelerator.init_trackers("vit-demo")
    train(run)
    accelerator.end_training()
    if accelerator.is_main_process:
        outcome.finish(run)
    accelerator.wait_for_everyone()
    return run.output


def check_output(config: TrainConfig) -> None:
    output = Path(config.output)
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file: give a folder")
    if not config.resume and not config.dry_run and output.is_dir() and any(output.iterdir()):
        raise UserError(f"--output {output} already holds a run: add --resume to go on with it, or give another folder")


def train(run: Run) -> None:
    """All epochs that are left. Raises SystemExit(130), with the state saved, when asked to stop."""
    config, progress = run.config, run.progress
    interrupt, started = Interrupt(), time.monotonic()
    try:
        for epoch in range(progress.step // run.steps_an_epoch, config.epochs):
            skip = progress.step % run.steps_an_epoch
            meter = Meter(progress, config, epoch, run.steps_an_epoch, run.accelerator.num_processes, quiet=not run.accelerator.is_main_process)
            for step in loop.train_epoch(run.prepared, run.optimizers, run.average, run.batches(epoch), run.accelerator, epoch, run.total_steps, skip):
                meter.add(step)
                late = config.stop_after and time.monotonic() - started > 60 * config.stop_after
                if asked(run, interrupt.requested or late):
                    meter.keep()
                    run.save()
                    run.accelerator.print(f"\nstopped after step {progress.step} of {run.total_steps}; go on with:\n  {resume_command(config)}")
                    raise SystemExit(STOPPED)
                if config.save_every and progress.step % config.save_every == 0 and progress.step % run.steps_an_epoch:
                    meter.keep()
                    run.save()
            end_epoch(run, epoch, meter.close())
            run.save()
            if config.early_stopping and progress.history[-1]["epoch"] - progress.best_epoch >= config.early_stopping:
                run.accelerator.print(f"no better validation accuracy for {config.early_stopping} epochs: stopping")
                break
    finally:
        interrupt.restore()


def end_epoch(run: Run, epoch: int, totals: dict) -> None:
    """Validate, note the epoch in the history, keep the weights that are due."""
    entry = {"epoch": epoch + 1, **totals}
    if run.splits.validation is not None:
        entry.update(run.validate())
        if entry["validation_accuracy"] > run.progress.best:
            run.progress.best, run.progress.best_epoch = entry["validation_accuracy"], epoch + 1
            if run.config.keep == "best" and run.accelerator.is_main_process:
                outcome.keep_best(run)
    run.progress.history.append(entry)
    run.accelerator.print("  ".join(f"{name} {value:.4g}" for name, value in entry.items()))
    if run.config.tracker:
        run.accelerator.log(entry, step=run.progress.step)
    if outcome.snapshot_due(run.config, epoch) and run.accelerator.is_main_process:
        outcome.write_snapshot(run, epoch)


def asked(run: Run, here: bool) -> bool:
    """Whether any process was asked to stop: all stop at the same step."""
    if run.accelerator.num_processes == 1:
        return bool(here)
    return run.accelerator.reduce(torch.tensor(float(here), device=run.accelerator.device), "sum").item() > 0


def resume_command(config: TrainConfig) -> str:
    return shlex.join(["python", "-m", "training.train", "--output", config.output, "--resume"])


def cli() -> None:
    logging.disable_progress_bar()  # the library's bars for single files; ours tell more
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    cli()
