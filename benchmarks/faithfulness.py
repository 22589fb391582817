"""Are the heat maps true? Insertion and deletion areas of every shipped map, and of a random one.

    python -m benchmarks.faithfulness --data PATH [--model FOLDER] [--pictures 500]

Each picture's predicted class is explained; patches are then inserted and deleted in the map's order, one by one
(or in --steps steps), and removed in two ways: token drop, mean patch. Maps are compared on training pictures and
reported on test pictures. The last line is JSON: of each map the mean insertion and deletion area, their
difference and its bootstrap 95 % interval, over both ways of removal and for each of them.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import torch
import transformers

from training.source import find_image_column, need_split, open_dataset
from vit_demo.classifier import FAITHFULNESS_FILE, load
from vit_demo.commands import cli
from vit_demo.errors import UserError
from vit_demo.explain.faithfulness import REMOVALS, bootstrap_interval, curves, random_map
from vit_demo.explain.methods import DEFAULT, METHODS, RANDOM
from vit_demo.explain.relevance import target
from vit_demo.explain.tokens import embed
from vit_demo.images import open_picture

SEED = 0  # chooses the pictures: the same 500 for every model


def options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faithfulness", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="dataset with a train and a test split: a folder, or an id on the Hub")
    parser.add_argument("--model", help="model folder (default: the bundled model)")
    parser.add_argument("--pictures", type=int, default=500, help="how many of each split (default: %(default)s)")
    parser.add_argument("--maps", nargs="+", choices=list(METHODS), default=list(METHODS), help="only these maps; those of an earlier run stay in --output and beside the model (default: all)")
    parser.add_argument("--steps", type=int, help="points of a curve (default: one a patch)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--rows", type=Path, help="file that keeps each picture's numbers; run again to go on after a stop (give a new one when a map's code has changed)")
    parser.add_argument("--beside", action="store_true", help="leave the averages beside the model too, where the page reads them")
    parser.add_argument("--output", type=Path, help="JSON file for the result with its conditions")
    return parser.parse_args(argv)


def measure(classifier, image, row: int, names: list[str], steps: int | None, batch: int) -> dict:
    """A picture -> {"seconds": {map: s}, removal: {map: [insertion area, deletion area]}} of the named maps and a random one"""
    model = classifier.viewing
    pixel_values = classifier.pixel_values([image]).to(model.device)
    with torch.no_grad():
        predicted = classifier.model(pixel_values).logits[0].argmax().item()
    wanted, maps, seconds = target(model, predicted), {}, {}
    for name in names:
        start = time.perf_counter()
        maps[name] = METHODS[name].map(model, pixel_values, wanted).cpu()
        seconds[name] = round(time.perf_counter() - start, 4)
    maps[RANDOM] = random_map(len(maps[names[0]]), seed=row)
    embeddings = embed(classifier.model, pixel_values)
    stacked = torch.stack(list(maps.values())).to(model.device)
    measured = {"seconds": seconds}
    for removal in REMOVALS:
        found = curves(classifier.model, embeddings, stacked, predicted, removal=removal, steps=steps, batch=batch)
        areas = torch.stack([found.insertion_area, found.deletion_area], dim=1).tolist()
        measured[removal] = dict(zip(maps, areas, strict=True))
    return measured


def kept_rows(path: Path | None, conditions: dict) -> dict[str, dict]:
    """{"split/row": numbers} of an earlier run; its first line must tell the same conditions."""
    if path is None or not path.exists() or not path.stat().st_size:
        if path is not None:
            path.write_text(json.dumps(conditions) + "\n")
        return {}
    first, *lines = path.read_text().splitlines(keepends=True)
    if json.loads(first) != conditions:
        raise UserError(f"{path} holds the rows of another model, data or setting: give a new file, or delete it")
    whole = [line for line in lines if line.endswith("\n")]  # a stop may have cut the last one short
    path.write_text("".join([first, *whole]))
    kept: dict[str, dict] = {}
    for key, found in map(json.loads, whole):
        kept[key] = merged(kept.get(key, {}), found)
    return kept


def merged(earlier: dict, found: dict) -> dict:
    """Numbers of a picture's maps, and of more of them."""
    return {part: {**earlier.get(part, {}), **found[part]} for part in found}


def run(args: argparse.Namespace, classifier, dataset, split: str, kept: dict[str, dict]) -> list[dict]:
    """The numbers of --pictures pictures of a split, those already kept not computed again."""
    column = find_image_column(dataset[split].features)
    order = torch.randperm(len(dataset[split]), generator=torch.Generator().manual_seed(SEED))
    batch, rows, start = 32 if args.device == "cpu" else 1024, [], time.monotonic()
    chosen = order[: args.pictures].tolist()
    for done, row in enumerate(chosen):
        key = f"{split}/{row}"
        missing = [name for name in args.maps if name not in kept.get(key, {}).get("seconds", {})]
        if missing:
            image = open_picture(picture(dataset[split][row][column]))
            found = measure(classifier, image, row, missing, args.steps, batch)
            kept[key] = merged(kept.get(key, {}), found)
            if args.rows:
                with args.rows.open("a") as file:
                    file.write(json.dumps([key, found]) + "\n")
        rows.append(kept[key])
        print(f"\r{split} {done + 1}/{len(chosen)}, {time.monotonic() - start:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def picture(cell):
    """A dataset's picture: decoded, or still the bytes of a file."""
    return cell["bytes"] if isinstance(cell, dict) else cell


def summary(rows: list[dict], names: list[str]) -> dict[str, dict]:
    """Rows of one split -> for each map its mean areas, their difference and interval, over all removals and for each."""
    areas = {name: torch.tensor([[row[removal][name] for removal in REMOVALS] for row in rows]) for name in names}
    return {name: {**numbers(area.mean(dim=1)), **{removal: numbers(area[:, i]) for i, removal in enumerate(REMOVALS)},
                   "seconds": round(sum(row["seconds"].get(name, 0) for row in rows) / len(rows), 4), "pictures": len(rows)}
            for name, area in areas.items()}


def numbers(areas: torch.Tensor) -> dict:
    """(M,2) insertion and deletion areas -> their means, the mean difference and its bootstrap 95 % interval."""
    insertion, deletion = areas.double().mean(dim=0).tolist()
    interval = bootstrap_interval(areas[:, 0] - areas[:, 1])
    return {"insertion": round(insertion, 4), "deletion": round(deletion, 4), "difference": round(insertion - deletion, 4),
            "ci95": [round(end, 4) for end in interval]}


def lead(rows: list[dict], one: str, other: str) -> list[float]:
    """Bootstrap 95 % interval of how much larger one map's difference is than the other's on the same picture."""
    def score(name: str) -> torch.Tensor:
        areas = torch.tensor([[row[removal][name] for removal in REMOVALS] for row in rows]).mean(dim=1)
        return areas[:, 0] - areas[:, 1]

    return [round(end, 4) for end in bootstrap_interval(score(one) - score(other))]


def main(argv: list[str] | None = None) -> dict:
    args = options(argv)
    if args.pictures < 1:
        raise UserError(f"--pictures {args.pictures}: choose at least 1")
    classifier = load(args.model)
    classifier.model.to(args.device)  # before `viewing` is made of the same tensors
    dataset = open_dataset(args.data)
    for split in ("train", "test"):  # now, not after hours with the first
        need_split(dataset, split, "--data")
    conditions = {"model": classifier.name, "data": Path(args.data).name, "steps": args.steps or "one a patch", "seed": SEED,
                  "device": torch.cuda.get_device_name() if args.device != "cpu" else "cpu", "torch": torch.__version__,
                  "transformers": transformers.__version__, "fingerprint": fingerprint(classifier.model)}
    kept = kept_rows(args.rows, conditions)
    train, test = (run(args, classifier, dataset, split, kept) for split in ("train", "test"))
    file = classifier.files / FAITHFULNESS_FILE
    before = earlier(args.output or (file if args.beside else None), conditions)
    most = before.get("test", {}).get(RANDOM, {}).get("pictures", 0)
    names = [*args.maps, *([RANDOM] if args.maps == list(METHODS) or args.pictures > most else [])]  # it stays that of the most pictures
    pictures = max(args.pictures, most)
    on_train, on_test = summary(train, names), summary(test, names)
    all_on_train = {**before.get("train", {}), **on_train}
    best = max((name for name in METHODS if name in all_on_train), key=lambda name: all_on_train[name]["difference"])
    for name, row in sorted(on_test.items(), key=lambda item: -item[1]["difference"]):
        print(f"{name:21}" + "".join(f"  {key} {row[key]:.3f}" for key in ("insertion", "deletion", "difference"))
              + "  95 % [{:.3f}, {:.3f}]".format(*row["ci95"]) + f"  {row['seconds']:.2f} s")
    print(f"best on the training pictures: {best}; shipped as default: {DEFAULT}")
    if args.output:
        leads = {name: lead(test, DEFAULT, name) for name in names if name != DEFAULT and all(DEFAULT in row["drop"] for row in test)}
        told = {**before, "conditions": {**conditions, "pictures": pictures}, "best_on_train": best, "shipped_default": DEFAULT,
                "test": {**before.get("test", {}), **on_test}, "train": all_on_train,
                "default_minus_other_ci95": {**(before.get("default_minus_other_ci95", {}) if DEFAULT not in names else {}), **leads}}
        args.output.write_text(json.dumps(told, indent=1) + "\n")
    if args.beside:
        told = earlier(file, conditions)
        told = {**told, "pictures": pictures, "conditions": conditions, "best_on_train": best, "test": {**told.get("test", {}), **on_test}}
        file.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(on_test))
    return on_test


def earlier(file: Path | None, conditions: dict) -> dict:
    """What the file holds of a run under the same conditions, whose maps may be more than those of this one."""
    told = json.loads(file.read_text()) if file is not None and file.exists() else {}
    return told if conditions.items() <= told.get("conditions", {}).items() else {}


def fingerprint(model) -> str:
    """Of the weights, so that rows of another model are never taken for this one's."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    cli(main)
