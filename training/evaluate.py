"""Measure any ViT classifier, a folder or a model of the Hub, on any labelled pictures.

    python -m training.evaluate runs/vit-b16 --dataset uoft-cs/cifar10

Pictures go through the very path that the app classifies with; classes are matched by their names, whatever their order.
Legend: M pictures, K classes of the model.
"""

import argparse
import json
import re
import time
from collections import Counter
from pathlib import Path

import torch
from tqdm.auto import tqdm

from training import report
from training.data import encoded, labels_of, mixed
from training.files import Files
from training.lineage import KNOWN_TEST, is_named, runs_of
from training.scores import scores
from training.source import class_ids, find_columns, need_split, open_dataset
from vit_demo import commands
from vit_demo.classifier import Classifier, load
from vit_demo.errors import UserError
from vit_demo.labels import clean_labels

SHORT = ("model", "revision", "dataset", "dataset_config", "split", "images", "accuracy", "accuracy_ci95", "balanced_accuracy", "macro_f1", "top5_accuracy", "loss", "ece",
         "fingerprint", "device", "seconds", "images_per_second", "versions")


def evaluate(model: str, dataset: str, *, split: str = "test", image_column: str | None = None, label_column: str | None = None,
             dataset_config: str | None = None, batch_size: int = 64, max_images: int | None = None, by_number: bool = False,
             revision: str | None = None, say=print) -> dict:
    """All of `scores.scores`, with the conditions of the measurement."""
    opened = open_dataset(dataset, dataset_config)
    need_split(opened, split, "--split")
    columns = find_columns(opened[split].features, image_column, label_column)
    ids, names = class_ids(*labels_of(opened, split, columns))
    rows = sorted(mixed(opened[split], ids)[:max_images])
    ids = [ids[row] for row in rows]
    classifier = load(model, revision=revision, limits=report.OWN_MODEL)
    model_class, how = match_classes(names, classifier.labels, by_number)
    say(f"{classifier.name} on {len(rows)} pictures of {dataset}, split {split}; {how}")
    if torch.cuda.is_available():
        classifier.model.to("cuda")
    started = time.monotonic()
    logits, fingerprint = answers(classifier, encoded(opened, split, columns[0], rows), ids, batch_size)
    seconds = time.monotonic() - started
    if of := learned_from(classifier.metrics, dataset, dataset_config, split, fingerprint):
        say(f"warning: {classifier.name} was trained on split {split} of {of}, as its metrics.json says: the accuracy on pictures "
            "that were learned from tells little about new ones")
    found = scores(logits, model_class[torch.tensor(ids)], classifier.labels)
    return {
        "model": classifier.name,
        "revision": classifier.revision,
        "dataset": KNOWN_TEST.get(fingerprint) or report.source_name(dataset),
        **({"dataset_config": dataset_config} if dataset_config else {}),
        "split": split,
        "fingerprint": fingerprint,
        "ece": found["calibration"]["ece"],
        "device": report.device_name(classifier.model.device),
        "seconds": seconds,
        "images_per_second": len(rows) / seconds,
        "versions": report.versions(),
        **found,
    }


def answers(classifier: Classifier, files: Files, ids: list[int], batch_size: int) -> tuple[torch.Tensor, str]:
    """Logits (M,K) and the fingerprint of the pictures with the dataset's own labels; a batch in memory at a time."""
    logits, digests = [], []
    for start in tqdm(range(0, len(files), batch_size), desc="evaluate", unit="batch", disable=None):
        pictures = files[start : start + batch_size]
        digests += map(report.picture_digest, pictures, ids[start : start + batch_size])
        logits.append(classifier.logits(pictures))
    return torch.cat(logits), report.combined(digests)


def learned_from(metrics: dict, dataset: str, dataset_config: str | None, split: str, fingerprint: str) -> str | None:
    """Of what a model with these metrics had this split to learn from, as far as they tell: folders of one name may hold other pictures."""
    name, found = report.source_name(dataset), None
    for run in runs_of(metrics):
        data = run["dataset"]
        named = is_named(run, dataset) and (data.get("config"), data.get("train_split")) == (dataset_config, split)
        if data.get("fingerprint") == fingerprint or named and "/" in name:  # a Hub id, which no folder's name is
            return "this data set"
        if named:
            found = f"a data set of the same name ({name}), perhaps this one"
    return found


def match_classes(names, labels, by_number: bool = False) -> tuple[torch.Tensor, str]:
    """Names of the dataset's classes, names of the model's -> (len(names),) model class of each dataset class, and how in words.

    By name: the same one, otherwise one that is left and differs in capitals or the kind of gap alone. By number where one side
    has no names, or when asked."""
    alone, names = [clean_labels([name]) for name in names], clean_labels(list(names))  # as the model's are on loading
    found = candidates(names, labels)
    if not by_number and all(found):
        claims = Counter(places[0] for places in found)
        unclear = [name for name, places, own in zip(names, found, alone, strict=True) if len(places) > 1 or claims[places[0]] > 1 or (name,) != own]
        if unclear and names != tuple(labels):
            raise UserError(f"{len(unclear)} of the dataset's {len(names)} classes ({some(unclear)}) are not told apart by their names once capitals, gaps and invisible characters "
                            "are set aside: rename one side, or take --by-number if both sides count their classes alike")
        extra = len(labels) - len(names)
        more = f"; the model knows {extra} more, and an answer among those counts as wrong" if extra else ""
        return torch.tensor([place for [place] in found]), f"{len(names)} classes matched by name{more}"
    if by_number or nameless(names) or nameless(labels):
        numbers = [int(name) for name in names] if all(name.isdecimal() for name in names) else list(range(len(names)))
        if max(numbers) < len(labels) and (len(names) == len(labels) or nameless(names)):
            return torch.tensor(numbers), f"{len(names)} classes matched by number, not by name"
        raise UserError(f"the dataset has {len(names)} classes and the model {len(labels)}, and they cannot be matched by number: give both sides names")
    strange = [name for name, places in zip(names, found, strict=True) if not places] or list(names)
    raise UserError(
        f"{len(strange)} of the dataset's {len(names)} classes ({some(strange)}) are not among the model's {len(labels)} ({some(labels)}): "
        "take a model trained on these classes, or rename one side"
    )


def candidates(names, labels) -> list[list[int]]:
    """For each name the model classes that it may mean."""
    exact, alike = {label: k for k, label in enumerate(labels)}, {}
    for label in exact.keys() - set(names):
        alike.setdefault(key(label), []).append(exact[label])
    return [[exact[name]] if name in exact else alike.get(key(name), []) for name in names]


def key(name: str) -> str:
    return " ".join(re.sub(r"[_\-]", " ", name).casefold().split())


def nameless(names) -> bool:
    """Numbers and LABEL_0, LABEL_1 ... are no names."""
    return all(re.fullmatch(r"(LABEL_|class )?\d+", name) for name in names)


def some(names) -> str:
    return ", ".join(list(names)[:5])[:120] + (", …" if len(names) > 5 else "")


def table(found: dict) -> str:
    """The per-class numbers as text, and the headline below."""
    width = max(len(row["name"]) for row in found["per_class"])
    shown = [row for row in found["per_class"] if row["support"]]
    lines = [f"{'class':{width}}  precision  recall      F1  pictures"]
    for row in shown:
        numbers = [f"{100 * row[name]:.1f} %" if row[name] is not None else "–" for name in ("precision", "recall", "f1")]
        lines.append(f"{row['name']:{width}}  {numbers[0]:>9} {numbers[1]:>7} {numbers[2]:>7} {row['support']:>9,}")
    low, high = found["accuracy_ci95"]
    lines.append(f"accuracy {100 * found['accuracy']:.2f} % on {found['images']:,} pictures (95 % interval from their number alone: {100 * low:.1f} to {100 * high:.1f} %)")
    lines.append(f"cross-entropy {found['loss']:.4f}, expected calibration error {100 * found['ece']:.1f} %, {found['images_per_second']:.0f} pictures a second on {found['device']}")
    return "\n".join(lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Measure a ViT classifier on labelled pictures: accuracy, per-class numbers, calibration. The last line printed is JSON.",
        epilog="Start: python -m training.evaluate runs/vit-b16 --dataset uoft-cs/cifar10 --max-images 1000",
    )
    parser.add_argument("model", help="a folder that training wrote, or USER/NAME on the Hub")
    parser.add_argument("--dataset", required=True, help="Hub id (uoft-cs/cifar10), a folder of parquet files, or a folder with one folder of pictures a class")
    parser.add_argument("--dataset-config", help="which one of several data sets that live under the one name")
    parser.add_argument("--split", default="test", help="which part of the dataset (default: test)")
    parser.add_argument("--image-column", help="the column with the pictures; found by its type when there is just one")
    parser.add_argument("--label-column", help="the column with the classes; found by its type when there is just one")
    parser.add_argument("--batch-size", type=positive, default=64, help="pictures at a time (default: 64; less needs less memory)")
    parser.add_argument("--max-images", type=positive, help="measure on the first this many pictures only; where they lie class after class, as folders do, on so many drawn by class, always the same")
    parser.add_argument("--by-number", action="store_true", help="class 0 of the dataset is class 0 of the model, whatever they are called")
    parser.add_argument("--revision", help="branch, tag or commit of a model on the Hub")
    parser.add_argument("--output", help="also write all the numbers, with the confusion matrix, to this JSON file")
    parser.add_argument("--record-read", metavar="NOTE", help="this number is to be reported: append it, with this note, to benchmarks/results/test_reads.jsonl")
    return parser.parse_args(argv)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def main(argv: list[str] | None = None) -> dict:
    """As the command line says. Raises UserError with one line."""
    options = vars(parse(argv))
    model, dataset, output, note = (options.pop(name) for name in ("model", "dataset", "output", "record_read"))
    if output and not Path(output).parent.is_dir():
        raise UserError(f"no folder {Path(output).parent} for --output: make it first")
    found = evaluate(model, dataset, **options)
    print(table(found))
    short = {name: found[name] for name in SHORT if name in found}
    if output:
        report.write_bytes(Path(output), (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    if note is not None:
        report.record_test_read({**short, "note": note})
    print(json.dumps(short))
    return found


def cli() -> None:
    commands.cli(main)


if __name__ == "__main__":
    cli()
