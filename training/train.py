"""Fine-tune a Vision Transformer, or train one from scratch, and write a measured, documented model.

    accelerate launch -m training.train --dataset uoft-cs/cifar10 --model google/vit-base-patch16-224-in21k --output runs/vit-b16
"""

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from transformers.utils import logging

from training import outcome
from training.alone import LOCK, alone_in
from training.command_line import parse_config
from training.config import SAVE_MINUTES, TrainConfig
from training.data import load_splits
from training.forecast import estimate, plan
from training.interrupt import Interrupt, tell
from training.memory import explained, let_go, within_memory
from training.model import make_processor, pinned
from training.progress import Meter
from training.report import device_name
from training.run import CLASSIFY, Run, Task, make_accelerator, start
from training.yaml_settings import save_yaml
from vit_demo import commands
from vit_demo.errors import UserError

PROBE = ".may-be-written-"  # a file that some systems show until it is closed; other processes of the run may be looking


def main(argv: list[str] | None = None) -> Path:
    """Train as the command line says; returns the output folder. Raises UserError, or SystemExit(130) when asked to stop."""
    return carry_out(parse_config(argv), CLASSIFY)


def carry_out(config: TrainConfig, task: Task) -> Path:
    """From checked settings to a written folder."""
    started = time.monotonic()
    check_output(config)
    accelerator = make_accelerator(config)
    with alone(config, accelerator):
        return begin(config, task, accelerator, started)


def begin(config: TrainConfig, task: Task, accelerator: Accelerator, started: float) -> Path:
    """Load, tell the plan, train, write."""
    if config.model and not config.resume:  # a run saved without its commit may have had another one than today's
        config = replace(config, model=pinned(config.model))
    processor, said = make_processor(config)
    fewer = f"take a smaller model, or keep fewer pictures in memory than --resident-gb {config.resident_gb:g}"
    with explained("before the first step", accelerator.device, fewer):
        splits = load_splits(config, processor.size["height"], accelerator.is_main_process, processor.resample, accelerator.device)
        run = start(config, accelerator, splits, processor, task)
    for line in said + run.said + plan(run):
        tell(accelerator, line)
    if config.resume:
        with explained("before the first step", accelerator.device, fewer):  # the optimisers' moments come to the device
            run.resume()
        if run.finished and (run.output / "README.md").is_file():  # the last file that finishing writes
            tell(accelerator, f"{run.output} is finished: nothing is left to do")
            return run.output
    if config.dry_run:
        within_memory(run, lambda run: tell(accelerator, estimate(run)))
        return run.output
    if not config.resume and accelerator.is_main_process:
        write_settings(config)
    if config.tracker:
        accelerator.init_trackers("vit-demo")
    run = within_memory(run, lambda run: train(run, started))
    if accelerator.is_main_process:
        with resumable(run), explained("after the last step", accelerator.device, f"the trained state is saved; --resume with less than --resident-gb {config.resident_gb:g} goes on from there"):
            task.finish(run)
    accelerator.wait_for_everyone()
    let_go(run)  # a distributed model that outlives its process group may wait for the group's threads for ever, and they for it
    accelerator.end_training()
    return run.output


def check_output(config: TrainConfig) -> None:
    output = Path(config.output)
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file: give a folder")
    if not config.resume and output.is_dir() and any(not path.name.startswith((PROBE, LOCK)) for path in output.iterdir()):
        raise UserError(f"--output {output} already holds a run: add --resume to go on with it, or give another folder")
    with written(output):
        tempfile.TemporaryFile(prefix=PROBE, dir=next(place for place in (output, *output.absolute().parents) if place.exists())).close()


@contextmanager
def alone(config: TrainConfig, accelerator: Accelerator) -> Iterator[None]:
    """No other run writes to the output meanwhile: a job that was started twice would take away what the first one saves. The main
    process, which does the writing, holds it for all of the run's processes."""
    with ExitStack() as held:
        if accelerator.is_main_process and not config.dry_run:
            with written(Path(config.output)):
                held.enter_context(alone_in(Path(config.output)))
            check_output(config)  # again: whose run it was may just have ended
        yield


def write_settings(config: TrainConfig) -> None:
    with written(Path(config.output)):
        Path(config.output).mkdir(parents=True, exist_ok=True)
        save_yaml(config, Path(config.output) / "train.yaml")


@contextmanager
def written(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to --output {output}: {error.strerror}; give another folder") from None


@contextmanager
def resumable(run: Run) -> Iterator[None]:
    """Ctrl-C or SIGTERM in here, where all steps are done and saved, loses nothing."""
    try:
        yield
    except KeyboardInterrupt:
        tell(run.accelerator, f"\nstopped before the trained model was measured and written; go on with:\n  {resume_command(run)}")
        raise SystemExit(commands.STOPPED) from None


def train(run: Run, started: float) -> None:
    """All epochs that are left. Raises SystemExit(130), with the state saved, when asked to stop."""
    interrupt = Interrupt(run.accelerator, run.config.stop_after, started, 0 if run.config.save_every else SAVE_MINUTES)
    if not run.finished:
        run.progress.on(device_name(run.accelerator.device))
    try:
        while not run.finished:
            train_one_epoch(run, interrupt)
        if run.progress.step < run.total_steps:
            tell(run.accelerator, f"no better validation accuracy for {run.config.early_stopping} epochs: stopping")
    finally:
        interrupt.restore()


def train_one_epoch(run: Run, interrupt: Interrupt) -> None:
    """What is left of the epoch. A state at its end is saved after it was validated and noted, so that none is missed."""
    config, progress = run.config, run.progress
    epoch, skip = divmod(progress.step, run.steps_an_epoch)
    meter = Meter(progress, config, epoch, run.steps_an_epoch, run.accelerator)
    for step in run.epoch(epoch, skip):
        meter.add(step)
        if progress.step % run.steps_an_epoch == 0:
            continue  # the end of the epoch, below
        asked, due = interrupt.asked()
        if asked or due or config.save_every and progress.step % config.save_every == 0:
            meter.keep()
            run.save()
            meter.saved()
            interrupt.saved()
        if asked:
            leave(run)
    end_epoch(run, epoch, meter.close())
    asked, _ = interrupt.asked()
    if asked or run.finished or not config.save_every or progress.step % config.save_every == 0:
        run.save()
        interrupt.saved()
    if asked:
        leave(run)


def leave(run: Run) -> None:
    tell(run.accelerator, f"\nstopped after step {run.progress.step} of {run.total_steps}; go on with:\n  {resume_command(run)}")
    raise SystemExit(commands.STOPPED)


def end_epoch(run: Run, epoch: int, totals: dict) -> None:
    """Validate, note the epoch in the history, keep the weights that are due."""
    run.check_weights()
    rates = ["learning_rate", *["muon_learning_rate"] * (run.config.optimizer == "muon")]
    entry = {"epoch": epoch + 1, **{name: getattr(run.config, name) * run.learning_rate_factor for name in rates}, **totals}
    if run.splits.validation is not None:
        entry.update(run.validate())
        if entry["validation_accuracy"] > run.progress.best:
            run.progress.best, run.progress.best_epoch = entry["validation_accuracy"], epoch + 1
            if run.config.keep == "best" and run.accelerator.is_main_process:
                outcome.keep_best(run)
    run.progress.history.append(entry)
    tell(run.accelerator, "  ".join(f"{name} {value:.4g}" for name, value in entry.items()))
    if run.config.tracker:
        run.accelerator.log(entry, step=run.progress.step)
    if epoch + 1 in outcome.snapshot_epochs(run.config) and run.accelerator.is_main_process:
        outcome.write_snapshot(run, epoch)


def resume_command(run: Run) -> str:
    """For a shell; over several machines each one's launch command holds what only its user knows."""
    processes = run.accelerator.num_processes
    machines = processes // int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    words = join(["-m", run.config.MODULE, "--output", run.config.output, "--resume"])
    if processes == 1:
        return f"python {words}"
    if machines > 1:
        return f"the launcher of each of the {machines} machines, as before with {processes} processes in all, and {words}"
    if run.accelerator.device.type == "cpu":  # there accelerate's own --num_processes starts one process
        variable = "set ACCELERATE_USE_CPU=true&&" if os.name == "nt" else "ACCELERATE_USE_CPU=true"
        return f"{variable} torchrun --standalone --nproc_per_node {processes} {words}"
    return f"accelerate launch --num_processes {processes} {words}"


def cli(main=main) -> None:
    logging.disable_progress_bar()  # the library's bars for single files and its table of weights; our lines tell more
    logging.set_verbosity_error()
    commands.cli(main)


if __name__ == "__main__":
    cli()
