"""Tiny runs of training.train: their settings, and children that are started quickly and may be killed."""

import dataclasses
import errno
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tqdm import tqdm

from tests.training_data import parquet_dataset
from training import outcome, train

TINY = ["--preset", "tiny-cpu", "--image-size", "8", "--patch-size", "4", "--hidden-size", "12", "--num-hidden-layers", "2", "--num-attention-heads", "2",
        "--intermediate-size", "24", "--batch-size", "8", "--epochs", "3", "--bank", "0", "--workers", "1"]
# Everything that draws random numbers is on.
RANDOM = ["--drop-path", "0.2", "--mixup", "0.8", "--cutmix", "1", "--mix-probability", "0.8", "--mix-until", "1", "--randaugment", "1", "--erasing", "0.3", "--ema", "0.9"]


def flags(dataset: Path, output: Path, *more: str) -> list[str]:
    return ["--dataset", str(dataset), "--output", str(output), *TINY, *more]


def again(output: Path, *more: str) -> list[str]:
    return ["--output", str(output), "--resume", *more]


def weights_only(run) -> None:
    outcome.write_weights(run.output, run.model, outcome.shipped_weights(run))


# Where a test asks for the weights alone: no measuring, no figures.
QUICK = dataclasses.replace(train.CLASSIFY, finish=weights_only)


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(Path(output) / "model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def full_disk(*given, **more):
    """In place of what writes."""
    raise OSError(errno.ENOSPC, "No space left on device")


def child(arguments: list[str], log: Path) -> multiprocessing.Process:
    """A process of its own that runs the command line `arguments`, its output in `log`; started from a warm one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.train", "datasets", "accelerate", "transformers"])
    process = context.Process(target=run_in_child, args=(arguments, str(log)))
    process.start()
    return process


def run_in_child(arguments: list[str], log: str) -> None:
    multiprocessing.set_start_method("fork", force=True)  # of the workers, which get this process's signal handlers with it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which the tests may run, has it ignored
    tqdm.set_lock(threading.RLock())  # its own is one between processes, which a killed one would leave behind
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv[1:] = arguments
    train.CLASSIFY = QUICK
    train.cli()


# Fixtures: import them by name where they are used.


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """48 pictures to train on, 12 to test on: 8 px, three classes."""
    return parquet_dataset(tmp_path_factory.mktemp("data"), train=48, test=12)


@pytest.fixture
def anew():
    """accelerate keeps a process's first answers about precision and compiling: here they are open, and afterwards again."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_float32_matmul_precision("highest")


@pytest.fixture
def quick(monkeypatch):
    """Runs end with their weights; measuring them has tests of its own."""
    monkeypatch.setattr(train, "CLASSIFY", QUICK)
