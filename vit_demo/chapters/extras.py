"""What may lie beside a model for this page: energies of held-out pictures, a bank of features, how true its heat maps are."""

import json
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vit_demo.chapters.scene import called
from vit_demo.checks import is_number
from vit_demo.classifier import BUNDLED, FAITHFULNESS_FILE
from vit_demo.explain.methods import METHODS, RANDOM

FILE = "extras.safetensors"
MOST_BYTES = 20_000_000
READ = (torch.float16, torch.float32)  # as training writes them; not all that safetensors can hold can be worked with


def extras(classifier) -> dict[str, Tensor]:
    """energies (Q,) ascending; bank (B,L,D), bank_thumbnails (B,3,32,32), bank_labels (B,). Nothing where a model has none
    that fits it."""
    config = classifier.model.config
    return _read(classifier.files / FILE, (config.num_hidden_layers, config.hidden_size), len(classifier.labels))


@lru_cache(maxsize=4)
def _read(file: Path, shape: tuple[int, int], classes: int) -> dict[str, Tensor]:
    try:
        if file.stat().st_size > MOST_BYTES:
            return {}
        found = load_file(file)
    except (OSError, SafetensorError):
        return {}
    good = {}
    if "energies" in found and found["energies"].dtype in READ and found["energies"].ndim == 1 and len(found["energies"]):
        good["energies"] = found["energies"].float()
    bank, thumbnails, labels = (found.get(name) for name in ("bank", "bank_thumbnails", "bank_labels"))
    if None not in (bank, thumbnails, labels) and bank.ndim == 3 and len(bank) and tuple(bank.shape[1:]) == shape \
            and bank.dtype in READ and bool(bank.isfinite().all()) \
            and tuple(thumbnails.shape) == (len(bank), 3, 32, 32) and thumbnails.dtype == torch.uint8 \
            and tuple(labels.shape) == (len(bank),) and labels.dtype == torch.int64 and 0 <= labels.min() and labels.max() < classes:
        good |= {"bank": bank, "bank_thumbnails": thumbnails, "bank_labels": labels}
    return good


def map_scores(classifier) -> dict:
    """{"model", "scores": {map: [insertion - deletion area, its 95 % interval's ends, of how many pictures]}} of test pictures, patches
    dropped as on the page: this model's where somebody measured them, otherwise the bundled model's."""
    return _scores(classifier.files / FAITHFULNESS_FILE, classifier.name) or _scores(BUNDLED / FAITHFULNESS_FILE, "bundled")


@lru_cache(maxsize=4)
def _scores(file: Path, model: str) -> dict:
    try:
        if file.stat().st_size > MOST_BYTES:
            return {}
        told = json.loads(file.read_bytes())
        dropped = {name: row["drop"] for name, row in told["test"].items() if name in METHODS or name == RANDOM}
        scores = {name: [float(row["difference"]), *map(float, row["ci95"]), int(told["test"][name].get("pictures", told["pictures"]))] for name, row in dropped.items()}
        found = {"model": called(model), "scores": scores}
    except (OSError, ValueError, OverflowError, RecursionError, TypeError, KeyError, AttributeError):
        return {}
    return found if RANDOM in scores and all(len(row) == 4 and all(map(is_number, row)) for row in scores.values()) else {}
