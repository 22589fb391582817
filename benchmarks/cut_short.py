"""A training run that stopped on the way, as a model that another run can go on from; it is measured on nothing.

    python -m benchmarks.cut_short runs/record/final-seed0 runs/record/cut-short

Takes the newest complete state of the first folder and its weight average, where it has one. The last line is JSON.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from training import checkpoint, outcome, report
from training.command_line import command
from training.config import TrainConfig
from training.lineage import dataset_name, descent
from training.model import build, make_processor
from training.source import find_columns, open_dataset
from training.train import cli as quiet
from training.yaml_settings import read_yaml
from vit_demo.errors import UserError


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cut_short", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the run that stopped")
    parser.add_argument("output", type=Path, help="folder for the model")
    parser.add_argument("--dataset", help="where its data lie here, if elsewhere")
    args = parser.parse_args(argv)
    if args.output.exists():
        raise UserError(f"{args.output} is there already: give another folder")
    state = checkpoint.newest_complete(args.run / "state")
    if state is None:
        raise UserError(f"no complete state in {args.run / 'state'}: give the folder of a run that was stopped")
    config = TrainConfig(**read_yaml(args.run / "train.yaml", TrainConfig))
    if args.dataset:
        config = replace(config, dataset=args.dataset)
    tensors, facts = checkpoint.load(state)
    features = open_dataset(config.dataset, config.dataset_config)[config.train_split].features
    _, label = find_columns(features, config.image_column, config.label_column)
    model, _ = build(config, tuple(features[label].names))
    args.output.mkdir(parents=True)
    outcome.write_weights(args.output, model, checkpoint.shipped(tensors), make_processor(config)[0])
    seen = facts["step"] * config.batch_size
    metrics = {"epochs": len(facts["history"]), "images_seen": seen, "images_per_second": seen / facts["seconds"], "seconds": facts["seconds"], "device": ", then ".join(facts["devices"]),
               "dataset": {"name": dataset_name(config.dataset, None), "config": config.dataset_config, "train_split": config.train_split, "validation_images": config.validation_images},
               "seed": config.seed, "command": command(config, model.config.image_size), "preset": config.preset, **descent(config.model), "history": facts["history"],
               "note": f"stopped after step {facts['step']}, {len(facts['history'])} of {config.epochs} epochs"}
    report.write_metrics(args.output, metrics)
    print(f"go on with training.train --model {args.output}")
    print(json.dumps({"step": facts["step"], "images_seen": seen, "parameters": model.num_parameters(), "folder": str(args.output)}))
    return args.output


if __name__ == "__main__":
    quiet(main)
