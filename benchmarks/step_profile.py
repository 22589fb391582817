"""Where does the time of a training step go: to the GPU, or to the host that starts its kernels?

    python -m benchmarks.step_profile train --batch-size 1024
    ACCELERATE_DYNAMO_MODE=max-autotune python -m benchmarks.step_profile pretrain --batch-size 2048

The record run's own step on random pictures: milliseconds a step, what the device did in them by kernel, and what the host did by
function. Where the device's share is far below the whole, the host is what is waited for: a larger batch helps, more of a GPU
does not. A profiled step is slower than the measured ones. The last line is JSON.
"""

import argparse
import cProfile
import itertools
import json
import pstats
import time
from collections.abc import Callable, Iterator

import torch
from torch.profiler import DeviceType, ProfilerActivity, profile

from benchmarks.train_speed import RECORD, WARM_UP, random_pictures, settings
from benchmarks.train_speed import options as speed_options
from training import report
from training.config import TrainConfig
from training.data import Splits
from training.model import make_processor
from training.pretrain import TASK, PretrainConfig
from training.run import CLASSIFY, Run, make_accelerator, start
from training.train import cli

ROWS = 20  # of each table


def step_of(kind: str, batch_size: int) -> tuple[TrainConfig, object]:
    """(settings, task) of the record run's step: learning with labels, or filling in what is hidden."""
    if kind == "train":
        return settings(speed_options(["--batch-size", str(batch_size), "--optimizer", "muon", "--layer-decay", "0.9"])), CLASSIFY
    changed = dict(preset=RECORD, batch_size=batch_size, epochs=10**6, output="unused")
    return PretrainConfig(**{**PretrainConfig.from_preset(RECORD), **changed}), TASK


def steps(run: Run) -> Iterator:
    for epoch in itertools.count():
        yield from run.epoch(epoch)


def timed(step: Callable, count: int, device: torch.device) -> float:
    """Milliseconds a step, over `count`."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    for _ in range(count):
        step()
    wait()
    return 1e3 * (time.perf_counter() - started) / count


def on_device(step: Callable, count: int, device: torch.device) -> list[tuple[float, float, str]]:
    """(milliseconds a step, times a step, name) of what the device ran itself, the longest first."""
    kind = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]) as found:
        timed(step, count, device)
    spent = {event.key: (event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total, event.count)
             for event in found.key_averages() if event.device_type == kind and not event.key.startswith(("##", "Optimizer."))}  # those are names around kernels
    return sorted(((total / 1e3 / count, times / count, key) for key, (total, times) in spent.items()), reverse=True)


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_profile", description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["train", "pretrain"])
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=40, help="a measurement; three are made (default: %(default)s)")
    args = parser.parse_args(argv)
    config, task = step_of(args.kind, args.batch_size)
    pictures = random_pictures(10 * args.batch_size)
    run = start(config, make_accelerator(config), Splits(pictures, None, pictures, "test", None), make_processor(config)[0], task)
    device, iterator = run.accelerator.device, steps(run)

    def step():
        next(iterator)

    timed(step, WARM_UP, device)
    blocks = [timed(step, args.steps, device) for _ in range(3)]
    host = cProfile.Profile()
    host.runcall(timed, step, args.steps, device)
    pstats.Stats(host).strip_dirs().sort_stats("tottime").print_stats(ROWS)
    table = on_device(step, 3, device)
    for milliseconds, times, name in table[:ROWS]:
        print(f"{milliseconds:8.3f} ms {times:7.1f}x  {name[:100]}")
    found = {"device": report.device_name(device), "step": args.kind, "batch": args.batch_size, "mode": run.accelerator.state.dynamo_plugin.mode,
             "ms_a_step": [round(block, 2) for block in blocks], "ms_on_device": round(sum(row[0] for row in table), 2), "images_per_second": round(1e3 * args.batch_size / sorted(blocks)[1])}
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    cli(main)
