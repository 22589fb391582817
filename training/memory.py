"""Out of memory: one line with the remedy; in a step, what would fit, found by trying, and going on with that when --auto-accumulate is given."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from accelerate.utils.memory import should_reduce_batch_size

from training import checkpoint
from training.run import Run, start
from training.yaml_settings import read_yaml, save_yaml
from vit_demo.errors import UserError


def within_memory(run: Run, work: Callable[[Run], None]) -> Run:
    """Do `work(run)` -> the run that did it. Out of memory is one line, or another try with more passes a step."""
    while True:
        try:
            work(run)
            return run
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        run = smaller(run)  # outside of the handler, which would hold on to the memory


@contextmanager
def explained(when: str, device: torch.device, remedy: str) -> Iterator[None]:
    """Out of memory outside of the steps, where no smaller batch would help, is one line."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory {when}{left(device)}: {remedy}") from None


def left(device: torch.device) -> str:
    """How much is free, where the driver says it."""
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f", with {free / 1e9:.1f} of {total / 1e9:.1f} GB free on {device}"


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or should_reduce_batch_size(error)


def smaller(run: Run) -> Run:
    """The same run with as many accumulation passes as fit, at its last saved state. Raises UserError unless --auto-accumulate."""
    config, processes = run.config, run.accelerator.num_processes
    found = first_that_fits(run)
    told = f"out of memory with {config.batch_size // (config.accumulation * processes)} pictures at a time"
    if found is None:
        raise UserError(f"{told}, and even one does not fit: take a smaller model or --image-size, or a lower --resident-gb")
    fits = f"{config.batch_size // (found * processes)} fit, --accumulation {found}"
    if not config.auto_accumulate or processes > 1:
        raise UserError(f"{told}: {fits}, with the same batch a step. Start again with it" + ("" if processes > 1 else ", or let --auto-accumulate do so"))
    run.accelerator.print(f"{told}: {fits}; going on with that, the batch of a step stays {config.batch_size}")
    config = replace(config, accumulation=found)
    let_go(run)
    again = start(config, run.accelerator, run.splits, run.processor, run.task)
    if checkpoint.newest_complete(run.output / "state"):
        again.resume()
    if not config.dry_run:
        settings = run.output / "train.yaml"
        save_yaml(replace(type(config)(**read_yaml(settings, type(config))), accumulation=found), settings)  # not what was asked of this resumption alone
    return again


def let_go(run: Run) -> None:
    """Callers still hold the run: what it has on the device goes here, or the next run would have to fit beside it."""
    run.model = run.prepared = run.average = None
    run.optimizers.clear()
    run.accelerator.free_memory()
    gc.collect()  # a prepared model holds itself by its own forward


def first_that_fits(run: Run) -> int | None:
    """The fewest passes above the present ones whose forward and backward fit: each number that divides the batch is tried, in order; None for none."""
    each = run.config.batch_size // run.accelerator.num_processes
    for passes in range(run.config.accumulation + 1, each + 1):
        if each % passes:
            continue
        release(run)
        try:
            trial(run, each // passes)
            return passes
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        finally:
            release(run)
    return None


def trial(run: Run, pictures: int) -> None:
    """One pass on blank pictures, beside what the optimiser will hold."""
    parameters = [p for p in run.model.parameters() if p.requires_grad]
    held = [torch.empty_like(p) for p in parameters for _ in range(2) if not any(o.state for o in run.optimizers)]
    blank = torch.zeros(pictures, 3, run.view.size, run.view.size, device=run.accelerator.device)
    run.model.train()
    with run.accelerator.no_sync(run.prepared):
        run.accelerator.backward(run.prepared(pixel_values=blank).logits.float().square().mean())
    del held


def release(run: Run) -> None:
    for optimizer in run.optimizers:
        optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
