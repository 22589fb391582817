"""From trained weights to the folder that is published: model, processor, measured metrics, card; and copies on the way."""

import dataclasses
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from training import card, checkpoint, extras, figures, report
from training.command_line import command
from training.config import TrainConfig
from training.interrupt import tell
from training.lineage import base_revision, dataset_name, descent, known_before, known_test
from training.scores import scores
from vit_demo.classifier import Classifier, load
from vit_demo.errors import UserError

BEST = ("config.json", "model.safetensors")  # of the weights with the best validation accuracy so far


def shipped_weights(run) -> dict[str, torch.Tensor]:
    """Copies on the CPU of the weights that count: the average where there is one."""
    weights = {**run.model.state_dict(), **(run.average.averages if run.average is not None else {})}
    return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}


def write_weights(folder: Path, model, weights: dict[str, torch.Tensor], processor=None) -> None:
    """config.json and model.safetensors under the names the library uses, and the processor's file where there is one."""
    plain = type(model)(model.config)
    plain.load_state_dict(weights)
    with moved_into(folder, checkpoint.size(weights)) as aside:
        plain.to(next(iter(weights.values())).dtype).save_pretrained(aside)
        checkpoint.readable_as(aside / "model.safetensors", aside / "config.json")
        if processor is not None:
            processor.save_pretrained(aside)


@contextmanager
def moved_into(folder: Path, need: int) -> Iterator[Path]:
    """A folder for files that are moved into `folder` once all are written. Raises UserError when the disk is full."""
    with checkpoint.room_for(need, folder / ".writing", "the model") as aside:
        yield aside
        for path in aside.iterdir():
            os.replace(path, folder / path.name)
        aside.rmdir()


def snapshot_epochs(config: TrainConfig) -> list[int]:
    """After which epochs (from 1) a copy is kept: each so many times as late as the one before, since a model changes most
    at first; never after the last epoch, whose weights are the model itself."""
    due: list[int] = []
    for number in range(config.snapshots):
        due.append(max(round(config.epochs ** (number / config.snapshots)), due[-1] + 1 if due else 1))
    return [epoch for epoch in due if epoch < config.epochs]


def write_snapshot(run, epoch: int) -> None:
    """A small copy (float16) of the weights as they are after `epoch` (from 0), under snapshots/."""
    weights = {name: tensor.half() for name, tensor in shipped_weights(run).items()}
    write_weights(run.output / "snapshots" / f"epoch-{epoch + 1:03d}", run.model, weights)


def keep_best(run) -> None:
    """The weights with the best validation accuracy so far, float32, beside the state."""
    write_weights(run.output / "state" / "best", run.model, shipped_weights(run))


def need_best(run) -> Path:
    """The folder that `keep_best` wrote, once it is sure that it holds what --keep best ships."""
    best = run.output / "state" / "best"
    if missing := [name for name in BEST if not (best / name).is_file()]:
        raise UserError(f"{best / missing[0]} is gone: --keep best ships the weights of epoch {run.progress.best_epoch}, which lay there; bring the folder back, or start another --output")
    return best


def finish(run) -> None:
    """Write the folder, then measure it as the app would: the written files, through their own processor."""
    if run.config.keep == "best":
        best = need_best(run)
        with moved_into(run.output, (best / "model.safetensors").stat().st_size + 2**20) as aside:
            for name in BEST:
                shutil.copyfile(best / name, aside / name)
            run.processor.save_pretrained(aside)
    else:
        write_weights(run.output, run.model, shipped_weights(run), run.processor)
    classifier = load(str(run.output))
    classifier.model.to(run.accelerator.device)
    held_out, name = run.splits.held_out, run.splits.held_out_name
    logits = report.predict(classifier, held_out.pixels, description=f"measuring on {name}")
    measured = scores(logits, held_out.labels, held_out.class_names)
    metrics = {f"{name}_accuracy": measured.pop("accuracy"), f"{name}_loss": measured.pop("loss"), **conditions(run), **measured}
    report.write_metrics(run.output, metrics)
    figures.write_figures(run.output, metrics, held_out.class_names, held_out.pixels)
    write_extras(run, classifier, logits)
    card.write_card(run.output)
    tell(run.accelerator, f"{name} accuracy {metrics[f'{name}_accuracy']:.2%} on {len(held_out)} pictures; model, card and metrics are in {run.output}")


def write_extras(run, classifier: Classifier, held_out_logits: torch.Tensor) -> None:
    """Energies of pictures not learned from, those to choose on before those to test on; and the bank, when asked for."""
    splits, name = run.splits, run.splits.held_out_name
    if splits.validation is not None and splits.held_out_part != "validation":
        held_out_logits, name = report.predict(classifier, splits.validation.pixels, description="energies"), "validation"
    extras.write_extras(run.output, classifier, held_out_logits, splits.train.pixels, splits.train.labels, held_out=name,
                        size=run.config.bank, seed=run.config.seed)


def conditions(run) -> dict:
    """Everything that a reader needs beside the number."""
    config, splits, progress = run.config, run.splits, run.progress
    part, images_seen = splits.held_out_part, progress.step * config.batch_size
    name = dataset_name(config.dataset, splits.whole)
    return {
        "epochs": len(progress.history),
        **({"best_epoch": progress.best_epoch} if config.keep == "best" else {}),
        "seed": config.seed,
        "parameters": run.model.num_parameters(),
        "images_seen": images_seen,
        "images_per_second": images_seen / max(progress.seconds, 1e-9),
        "seconds": progress.seconds,
        "device": ", then ".join(progress.devices) or report.device_name(run.accelerator.device),
        "threads": torch.get_num_threads(),
        "processes": run.accelerator.num_processes,
        "precision": run.accelerator.mixed_precision,
        "dataset": {
            "name": name,
            **(known_test(name, splits.held_out.fingerprint) if part == "test" else {}),
            "config": config.dataset_config,
            "train_split": config.train_split,
            "test_split": splits.test_split,
            **({"validation_split": splits.validation_split} if splits.validation_split else {}),
            **({"held_out_by": splits.held_out_by} if splits.held_out_by else {}),
            "train_images": len(splits.train),
            "validation_images": len(splits.validation) if splits.validation is not None else 0,
            "fingerprint": splits.train.fingerprint,
            **({f"{part}_images": len(splits.held_out), f"{part}_fingerprint": splits.held_out.fingerprint} if splits.held_out is not None else {}),
            **unreadable(splits),
            **({"known_before": known} if (known := known_before(config, splits)) else {}),
        },
        "versions": report.versions(),
        "command": command(config, run.processor.size["height"]),
        "preset": config.preset,
        **descent(config.model),
        **({"base_revision": commit} if (commit := base_revision(config.model)) else {}),
        "settings": {**dataclasses.asdict(config), "dataset": None, "model": None, "output": None},
        "history": progress.history,
    }


def unreadable(splits) -> dict[str, int]:
    """How many pictures --skip-bad left out of each part, where it left out any."""
    parts = {"train": splits.train, "validation": splits.validation, splits.held_out_part: splits.held_out}
    return {f"unreadable_{part}_images": pictures.left_out for part, pictures in parts.items() if pictures is not None and pictures.left_out}
