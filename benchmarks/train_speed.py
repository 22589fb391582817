"""How fast does training run, how fast could it, and how fast is transformers' Trainer? One model, batch and data for all.

    python -m benchmarks.train_speed --model-shape vit-b16 --batch-size 256 --seconds 20 --write

- ours: this project's training step with the full augmentation of the record recipe (training/presets/cifar-patch4.yaml)
- limit: the bare forward, backward and step of the same compiled model on one ready batch: same precision, optimiser,
  clipping and weight average. What ours loses against it is augmentation and bookkeeping. The two take turns, block by block.
- trainer: transformers' Trainer as its tutorial uses it; trainer_tuned: with bf16, torch.compile and a worker a core

Weights and pictures are random. The last line is JSON; --write keeps it with its conditions in benchmarks/results/.
"""

import argparse
import gc
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTConfig, ViTForImageClassification

from benchmarks import peer_trainer
from benchmarks.pace import Pace, in_turns
from training import loop, report
from training.config import TrainConfig, architectures, read_preset
from training.data import Pictures, Splits
from training.model import make_processor
from training.run import Run, make_accelerator, start
from vit_demo.commands import cli

RECORD = "cifar-patch4"
RESULTS = Path(__file__).parent / "results"
SHAPES = {
    "vit-tiny": dict(image_size=224, patch_size=16, hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768),
    "vit-b16": dict(image_size=224, patch_size=16, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072),
}
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16 FLOP/s, by the vendor's datasheets
MODES = ("ours", "limit", "trainer", "trainer_tuned")
WARM_UP = 8  # steps; torch.compile does its work in the first two, and when cutmix first comes after mixup


def options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--model-shape", default=RECORD, choices=[*SHAPES, *architectures()], help="vit-tiny, vit-b16, or the architecture of a preset (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--image-size", type=int, help="pixels a side that the model sees (default: the shape's own); the pictures are 32 px")
    parser.add_argument("--seconds", type=float, default=20.0, help="measuring time for each of the four (default: %(default)s), warm-up not counted")
    parser.add_argument("--pictures", type=int, help="random pictures to train on (default: 10 batches, at least 5,000)")
    parser.add_argument("--optimizer", default="adamw", choices=["adamw", "muon"], help="ours and limit (default: %(default)s, the Trainer's)")
    parser.add_argument("--layer-decay", type=float, default=1.0, help="ours and limit; below 1, as in the record run, each layer has a learning rate of its own (default: %(default)s)")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bf16"], help="ours and limit; float32 also takes bf16 from trainer_tuned")
    parser.add_argument("--compile", default="auto", choices=["auto", "yes", "no"], help="ours and limit; no also takes it from trainer_tuned")
    parser.add_argument("--only", nargs="+", default=MODES, choices=MODES, help="measure only these")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/train_speed_<device>_<model>[_<precision>].json")
    parser.add_argument("--note", default="", help="what a reader should know, such as what else the machine was doing")
    return parser.parse_args(argv)


def settings(args: argparse.Namespace) -> TrainConfig:
    """The record recipe with the shape's architecture."""
    recipe = read_preset(RECORD)
    shape = SHAPES.get(args.model_shape) or read_preset(args.model_shape)
    shape = {name: shape[name] for name in SHAPES["vit-tiny"]}
    changed = dict(optimizer=args.optimizer, layer_decay=args.layer_decay, batch_size=args.batch_size, precision=args.precision, compile=args.compile, epochs=10**6, preset=RECORD,
                   mix_until=1.0, snapshots=0, bank=0, output="unused")
    return TrainConfig(**{**recipe, **shape, **({"image_size": args.image_size} if args.image_size else {}), **changed})


def random_pictures(count: int) -> Pictures:
    """Smooth ones, 32 px: their PNG files are about as large as CIFAR-10's."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    pixels = F.interpolate(coarse, (32, 32), mode="bicubic").mul(255).add(3 * torch.randn(count, 3, 32, 32, generator=generator))
    labels = torch.randint(0, 10, (count,), generator=generator)
    return Pictures(pixels.round().clamp(0, 255).to(torch.uint8), labels, tuple(f"class {k}" for k in range(10)))


def new_run(config: TrainConfig, pictures: Pictures) -> Run:
    """A run as training makes it, from an environment that no earlier contender has changed."""
    gc.collect()
    torch.compiler.reset()
    torch.set_float32_matmul_precision("highest")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    AcceleratorState._reset_state(reset_partial_state=True)
    return start(config, make_accelerator(config), Splits(pictures, None, pictures, "test", None), make_processor(config)[0])


def ours(run: Run) -> Iterator:
    """Training as it is, step by step."""
    for epoch in range(run.config.epochs):
        yield from loop.train_epoch(run.prepared, run.optimizers, run.average, run.batches(epoch), run.accelerator, epoch, run.total_steps)


def limit(run: Run) -> Iterator:
    """Nothing but the mathematics of the step, on one batch that is there already."""
    pixel_values, targets, _ = next(iter(run.batches(0).passes(0, [slice(0, run.config.batch_size)])))
    trained = [p for p in run.model.parameters() if p.requires_grad]
    for number in itertools.count():
        run.prepared.train()
        F.cross_entropy(run.prepared(pixel_values=pixel_values).logits.float(), targets).backward()
        torch.nn.utils.clip_grad_norm_(trained, run.config.clip)
        for optimizer in run.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        run.average.update(number)
        yield


def measure_step(names: list[str], config: TrainConfig, pictures: Pictures, seconds: float) -> dict[str, dict]:
    """Ours and its limit, block by block in turn, on one compiled model and one optimiser -> {name: facts}."""
    run = new_run(config, pictures)
    device = run.accelerator.device
    paces = {name: Pace(config.batch_size, seconds, device, WARM_UP) for name in names}
    steps = {"ours": ours(run), "limit": limit(run)}
    in_turns([(steps[name], pace) for name, pace in paces.items()])
    kinds = {"device": str(device), **gpu_memory(device), "precision": run.accelerator.mixed_precision, "optimizer": config.optimizer, "layer_decay": config.layer_decay, "compiled": run.prepared is not run.model}
    return {name: {**kinds, **pace.facts} for name, pace in paces.items()}


def measure_trainer(config: TrainConfig, pictures: Pictures, seconds: float, tuned: bool) -> dict:
    run = new_run(config, pictures)
    device, processor = run.accelerator.device, run.processor
    model = ViTForImageClassification(ViTConfig.from_dict(run.model.config.to_dict()))  # with the library's own choice of attention
    pace, arguments = Pace(config.batch_size, seconds, device, WARM_UP), {}
    if tuned:
        arguments = dict(bf16=config.precision != "float32", torch_compile=config.compile != "no", dataloader_num_workers=peer_trainer.cores())
    del run
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_float32_matmul_precision("highest")
    found = peer_trainer.measure(model, processor, pictures, pace, **arguments)
    return {"device": str(device), **gpu_memory(device), **found}


def gpu_memory(device: torch.device) -> dict:
    """What was taken from the GPU at most, in GiB, since the run was made."""
    return {"gpu_memory_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2)} if device.type == "cuda" else {}


def training_flops(config: TrainConfig) -> int:
    """Floating-point operations of one picture, forward and backward, counted on tensors without content."""
    run_model = new_model(config)
    with FlopCounterMode(display=False) as counter:
        run_model(pixel_values=torch.empty(1, 3, config.image_size, config.image_size, device="meta")).logits.sum().backward()
    return counter.get_total_flops()


def new_model(config: TrainConfig) -> ViTForImageClassification:
    names = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    with torch.device("meta"):
        return ViTForImageClassification(ViTConfig(**{name: getattr(config, name) for name in names}, num_labels=10, attn_implementation="eager"))


def main(argv: list[str] | None = None) -> dict:
    args = options(argv)
    config = settings(args)
    pictures = random_pictures(args.pictures or max(5000, 10 * args.batch_size))
    measured = {}

    def told(found: dict[str, dict]) -> None:
        measured.update(found)
        for name, facts in found.items():
            print(f"{name:14} {facts['images_per_second']:9.1f} images/s", file=sys.stderr, flush=True)

    if step := [name for name in ("ours", "limit") if name in args.only]:
        told(measure_step(step, config, pictures, args.seconds))
    for name in ("trainer", "trainer_tuned"):
        if name in args.only:
            told({name: measure_trainer(config, pictures, args.seconds, tuned=name == "trainer_tuned")})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    flops, name = training_flops(config), report.device_name(device)
    peak = next((rate for part, rate in PEAK.items() if part in name), None)
    rate = {mode: round(facts["images_per_second"], 1) for mode, facts in measured.items()}
    line = {"device": name, "model": f"{args.model_shape}-{config.image_size}px", "batch": config.batch_size,
            **{f"{mode}_img_s": rate.get(mode) for mode in ("ours", "trainer", "trainer_tuned", "limit")},
            "mfu": round(rate["ours"] * flops / peak, 4) if peak and "ours" in rate else None}
    if args.write:
        write(line, measured, flops, args)
    print(json.dumps(line))
    return line


def write(line: dict, measured: dict, flops: int, args: argparse.Namespace) -> None:
    kept = {**line, "gigaflop_a_training_picture": flops / 1e9, "contenders": measured, "versions": report.versions(), "threads": torch.get_num_threads(),
            "command": report.command_line("benchmarks.train_speed", sys.argv[1:]), "note": args.note, "date": time.strftime("%Y-%m-%d", time.gmtime())}
    device = "".join(c if c.isalnum() else "-" for c in line["device"].split(":")[-1].split(",")[0].strip().lower())
    asked = "" if args.precision == "auto" else f"_{args.precision}"
    report.write_bytes(RESULTS / f"train_speed_{device}_{line['model']}{asked}.json", (json.dumps(kept, indent=1) + "\n").encode())


if __name__ == "__main__":
    cli(main)
