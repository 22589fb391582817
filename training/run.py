"""One training run: all that belongs together while it goes on, and how it is saved, resumed, validated."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedType, DynamoBackend, InitProcessGroupKwargs, LoggerType, TorchDynamoPlugin, parse_flag_from_env
from torch.utils._triton import has_triton
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from training import checkpoint, loop, outcome
from training.augment import View
from training.batches import Ahead, EpochBatches, made
from training.config import TrainConfig
from training.data import Splits
from training.interrupt import tell
from training.lineage import about_known, known_before
from training.model import build
from training.optim import WeightAverage, add_drop_path, add_patch_dropout, make_optimizers
from training.progress import Progress
from vit_demo.errors import UserError

EVALUATION_BATCH = 500
# Of which pictures are held out where the settings are the same. 1 drew them by --seed and read no validation split; 2 drew folders without
# regard to classes, and took the last rows of classes in blocks.
HOLD_OUT_RULE = 3
UNMASKED = "sdpa_unmasked"
AttentionInterface.register(UNMASKED, sdpa_attention_forward)  # for an attention that it has no masks for, the library makes none
KEPT = "an earlier run of this process had another precision, or was compiled where this one is not or the reverse, and accelerate keeps that for the process: restart it (a notebook's kernel)"
PATIENCE = timedelta(days=1)  # of processes that wait while the main one measures alone; NCCL's own is 10 minutes


@dataclass(frozen=True)
class Task:
    """What a run learns: to classify, or, in pretrain.py, to fill in what is masked."""

    build: Callable  # settings, class names -> model, lines for the user
    objective: Callable  # model, pixel_values, targets, labels -> loss, number of right answers
    finish: Callable  # run -> nothing; writes the folder


CLASSIFY = Task(build, loop.classify, outcome.finish)


@dataclass(eq=False)
class Run:
    config: TrainConfig
    accelerator: Accelerator
    splits: Splits
    output: Path
    model: torch.nn.Module  # the plain model, whose weights are saved
    prepared: torch.nn.Module  # the same weights as accelerate runs them: compiled, autocast, distributed
    processor: object
    optimizers: list
    average: WeightAverage | None
    said: list[str]  # lines for the user about how the model was made
    progress: Progress
    task: Task = CLASSIFY

    @property
    def steps_an_epoch(self) -> int:
        return len(self.splits.train) // self.config.batch_size

    @property
    def total_steps(self) -> int:
        return self.steps_an_epoch * self.config.epochs

    @property
    def stopped_early(self) -> bool:
        """Validation has not become better for --early-stopping epochs."""
        progress, patience = self.progress, self.config.early_stopping
        return bool(patience and progress.history and progress.history[-1]["epoch"] - progress.best_epoch >= patience)

    @property
    def finished(self) -> bool:
        return self.progress.step >= self.total_steps or self.stopped_early

    @property
    def learning_rate_factor(self) -> float:
        """Share of the peak learning rates that the last step was done with."""
        return loop.learning_rate_factor(self.progress.step - 1, self.total_steps, self.config.warmup, self.config.schedule)

    @cached_property
    def view(self) -> View:
        return View.of(self.processor, self.accelerator.device)

    @cached_property
    def ahead(self) -> Ahead:
        return Ahead(self.config, len(self.splits.train), self.splits.train.labels.device)

    @cached_property
    def make(self) -> Callable:
        """Grey levels to the model's input; compiled when the model is."""
        return torch.compile(made, dynamic=False) if is_compiled(self.accelerator) else made

    def batches(self, epoch: int) -> EpochBatches:
        return EpochBatches(self.splits.train, self.config, epoch, self.view, self.ahead.tables(epoch), self.make)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[loop.Step]:
        """The steps of an epoch from step `skip` of it on, each done when it is yielded."""
        return loop.train_epoch(self.prepared, self.optimizers, self.average, self.batches(epoch), self.accelerator, epoch, self.total_steps, skip, self.task.objective)

    def save(self) -> None:
        """Save the state; on several processes the main one writes while the others wait."""
        self.check_weights()
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            facts = {**vars(self.progress), "processes": self.accelerator.num_processes, "data": self.splits.train.fingerprint, "order": self.splits.order, "rule": HOLD_OUT_RULE, "precision": self.accelerator.mixed_precision}
            tensors = checkpoint.flatten(self.model, self.optimizers, self.average)
            checkpoint.save(self.output / "state", self.progress.step, tensors, facts)
        self.accelerator.wait_for_everyone()

    def check_weights(self) -> None:
        """A gradient may overflow where the loss did not: such weights are never saved."""
        if not torch.stack([p.isfinite().all() for p in self.model.parameters()]).all():
            raise UserError(loop.diverged("the weights are no longer finite", self.progress.step - 1, self.learning_rate_factor, self.config))

    def resume(self) -> None:
        """Go on from the newest complete state, bit for bit. Raises UserError when the data or the number of processes changed."""
        state = checkpoint.newest_complete(self.output / "state")
        steps = self.accelerator.gather(torch.tensor([state_number(state)], device=self.accelerator.device)).tolist()
        if len(set(steps)) > 1:
            raise UserError(f"the processes find different states in {self.output}, of the steps {', '.join(map(str, steps))}: put --output on a disk that all of them share")
        if state is None:
            tell(self.accelerator, f"no complete state in {self.output / 'state'}: starting from the beginning")
            return
        tensors, facts = checkpoint.load(state)
        processes, (data, order, rule, precision) = facts.pop("processes"), (facts.pop(name, None) for name in ("data", "order", "rule", "precision"))  # the last four: not in older states
        if processes != self.accelerator.num_processes:
            raise UserError(f"this run was started on {processes} process(es) and cannot go on exactly on {self.accelerator.num_processes}: launch it on {processes}")
        if precision not in (None, self.accelerator.mixed_precision):
            raise UserError(f"this run was started in {named_precision(precision)} and would go on in {named_precision(self.accelerator.mixed_precision)} here: go on where it was started, or start another --output")
        checkpoint.restore(tensors, self.model, self.optimizers, self.average)  # another command's state is told by its tensors, before its pictures
        if rule != HOLD_OUT_RULE and (data, order) != (self.splits.train.fingerprint, self.splits.order) and order is not None:
            raise UserError("this run was started by an earlier version, which held out other pictures to choose or measure on: finish it with that version, or start another --output")
        if data is not None and data != self.splits.train.fingerprint:
            raise UserError(f"the training pictures of {self.config.dataset} are not those that the run was started with: bring them back, or start another --output")
        if order is not None and order != self.splits.order:
            raise UserError(f"{self.config.dataset} has the run's training pictures in another order, or other ones to choose on: bring the rows back as they were, or start another --output")
        self.progress = Progress(**facts)
        if self.config.keep == "best" and self.progress.history:
            outcome.need_best(self)  # now, not after hours
        tell(self.accelerator, f"going on after step {self.progress.step} of {self.total_steps}")

    def validate(self) -> dict:
        """Loss and accuracy, on the pictures to choose on, of the weights that would ship: the average where there is one.

        Not of the compiled model: replayed as CUDA graphs it had 82.3 % on an H200 where the same weights, written and loaded, had
        90.8 %, as if one batch in ten were answered at random; and compiling it for this takes longer than it saves."""
        batch = min(EVALUATION_BATCH, max(64, 2 * self.config.batch_size // self.config.accumulation))  # without gradients twice as many fit
        if self.average is not None:
            self.average.swap()
        result = loop.evaluate(self.model, self.splits.validation, self.view, self.accelerator, batch)
        if self.average is not None:
            self.average.swap()
        return {"validation_loss": result["loss"], "validation_accuracy": result["accuracy"]}


def state_number(state: Path | None) -> int:
    """Of the step that it was saved after; −1 for none."""
    return int(state.name.split("-")[-1]) if state else -1


def named_precision(mixed: str) -> str:
    return "float32" if mixed == "no" else mixed


def can_compile() -> bool:
    """What compiles for a GPU needs Triton, which Windows does not have, and a C compiler, which slim images do not have."""
    return has_triton() and any(map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang"))))


def make_accelerator(config: TrainConfig) -> Accelerator:
    """accelerate owns device, precision, compilation and launch. On a GPU: bf16 and compiled; on a CPU: float32."""
    cuda = torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU")
    bf16 = config.precision == "bf16" or (config.precision == "auto" and cuda and torch.cuda.is_bf16_supported(including_emulation=False))
    compiled = config.compile == "yes" or (config.compile == "auto" and cuda and can_compile())
    if cuda:
        torch.set_float32_matmul_precision("high")
    if config.tracker and LoggerType(config.tracker) not in get_available_trackers():
        raise UserError(f"--tracker {config.tracker}: its package is not installed: pip install {config.tracker}")
    try:
        accelerator = Accelerator(mixed_precision="bf16" if bf16 else "no", dynamo_plugin=TorchDynamoPlugin(backend="inductor" if compiled else "no", dynamic=False),
                                  log_with=config.tracker, project_dir=str(Path(config.output) / "state" / "logs"),
                                  kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])
    except ValueError as error:
        if "already been initialized" not in str(error):
            raise
        raise UserError(KEPT) from None
    if is_compiled(accelerator) != compiled:
        raise UserError(KEPT)
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UserError(f"{accelerator.distributed_type.value} splits the model, and here each process keeps a whole one: choose plain multi-GPU in accelerate config")
    if accelerator.num_processes < int(os.environ.get("WORLD_SIZE", 1)):
        raise UserError(f"{os.environ['WORLD_SIZE']} processes were launched that do not know of each other: on CPUs set ACCELERATE_USE_CPU=true")
    return accelerator


def start(config: TrainConfig, accelerator: Accelerator, splits: Splits, processor, task: Task = CLASSIFY) -> Run:
    """Model, optimisers and weight average on the device, and the pictures too, once."""
    check_batch(config, len(splits.train), accelerator)
    model, said = task.build(config, splits.train.class_names)
    if accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16":
        attend(model, "eager")  # there twice as fast as sdpa, which in float32 is the faster one
    elif is_compiled(accelerator):
        attend(model, UNMASKED)  # transformers 5.17 makes a mask of all ones while it is compiled, and no fused kernel takes one
        accelerator.state.dynamo_plugin.mode = compile_mode(config, accelerator)
    if config.drop_path:
        add_drop_path(model, config.drop_path)
    if config.patch_dropout:
        add_patch_dropout(model, config.patch_dropout)
    prepared = accelerator.prepare(model)
    optimizers = make_optimizers(model, config, fused=accelerator.device.type in ("cuda", "cpu"))
    average = WeightAverage(model, config.ema) if config.ema else None
    splits = (splits if config.ANSWERS else replace(splits, validation=None)).to(accelerator.device)
    return Run(config, accelerator, splits, Path(config.output), model, prepared, processor, optimizers, average, [*said, *splits.said, *about_known(known_before(config, splits))], Progress(), task)


def compile_mode(config: TrainConfig, accelerator: Accelerator) -> str:
    """On one GPU a step's kernels are replayed as one (CUDA graphs): a small model's take less time than starting them one by one
    does. Not over accumulated passes, whose gradients the next replay writes over (pytorch#96693), and not on AMD's GPUs, where
    training suffers from it (pytorch#187715). ACCELERATE_DYNAMO_MODE names another mode; its "default" is what accelerate launch
    says where nobody chose."""
    named = os.environ.get("ACCELERATE_DYNAMO_MODE", "default")
    suits = accelerator.device.type == "cuda" and torch.version.hip is None and accelerator.num_processes == 1 and config.accumulation == 1
    return "reduce-overhead" if suits and named == "default" else named


def is_compiled(accelerator: Accelerator) -> bool:
    return accelerator.state.dynamo_plugin.backend != DynamoBackend.NO


def attend(model, implementation: str) -> None:
    model.set_attn_implementation(implementation)
    for part in model.modules():
        if hasattr(part, "config"):  # a masked autoencoder's decoder has its own copy of it, which the library's line does not reach
            part.config._attn_implementation = implementation


def check_batch(config: TrainConfig, pictures: int, accelerator: Accelerator) -> None:
    if config.batch_size > pictures:
        raise UserError(f"--batch-size {config.batch_size} is larger than the {pictures} training pictures: take at most {pictures}")
    if config.batch_size % (accelerator.num_processes * config.accumulation):
        raise UserError(f"--batch-size {config.batch_size} does not divide among {accelerator.num_processes} processes x {config.accumulation} accumulation passes")
