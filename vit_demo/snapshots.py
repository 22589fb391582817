"""Small copies of a model from along its training: in folders snapshots/epoch-NNN beside it, or in branches of that
name on the Hub. Each is opened as any other model is, when it is wanted, and nothing of it is kept here."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from vit_demo import hub_fetch
from vit_demo.classifier import BUNDLED, Classifier, load, read_folder
from vit_demo.errors import UserError
from vit_demo.hub_address import Address

CARRIED = BUNDLED.parent / "film"  # a small model with snapshots, for models that bring none
NAME = re.compile(r"epoch-(\d{1,6})")
MOST = 24  # of one model; evenly spread, where there are more
MOST_BYTES = 1_000_000_000  # of weights for one look at all of them
HEADERS = 1_000_000  # bytes that names and shapes may take in a snapshot's files


@dataclass(frozen=True)
class Snapshot:
    epoch: int
    name: str  # of its folder in snapshots/, or of its branch; none for the model itself
    open: Callable[[Event], Classifier]  # given what stops it


def film(classifier: Classifier) -> list[Snapshot]:
    """A model's snapshots, the earliest first, and the model itself where it is what came out after the last of them."""
    found, metrics = find(classifier), classifier.metrics
    settings, end = metrics.get("settings"), metrics.get("epochs")
    whole = isinstance(settings, dict) and settings.get("keep") == "last" and isinstance(end, int)
    return [*found, Snapshot(end, "", lambda stop: classifier)] if found and whole and end > found[-1].epoch else found


def find(classifier: Classifier) -> list[Snapshot]:
    """Asks the Hub where the model came from there; raises UserError."""
    if classifier.origin is None:
        there = {path.name: path for path in (classifier.files / "snapshots").glob("epoch-*") if path.is_dir()}
    else:
        origin = classifier.origin
        there = dict.fromkeys(hub_fetch.branches(Address(classifier.name, None), token=origin.token, limits=origin.limits))
    epochs = {int(match[1]): name for name in there if (match := NAME.fullmatch(name))}
    most = max(2, min(MOST, MOST_BYTES // bytes_of(classifier)))
    chosen = spread(sorted(epochs), most)
    share = max(MOST_BYTES // max(len(chosen), 1), bytes_of(classifier) + HEADERS)  # a stranger's branch may hold other numbers than ours do, or more
    return [_snapshot(classifier, epoch, epochs[epoch], there[epochs[epoch]], share) for epoch in chosen]


def bytes_of(classifier: Classifier) -> int:
    """Of one snapshot's weights, as training writes them: float16."""
    return 2 * sum(parameter.numel() for parameter in classifier.model.parameters())


def spread(numbers: list[int], most: int) -> list[int]:
    """At most so many of them, evenly spread, the first and the last among them."""
    if len(numbers) <= most:
        return numbers
    return [numbers[round(i * (len(numbers) - 1) / (most - 1))] for i in range(most)]


def _snapshot(classifier: Classifier, epoch: int, name: str, folder: Path | None, most_bytes: int) -> Snapshot:
    if folder is not None:
        return Snapshot(epoch, name, lambda stop: read_folder(folder, f"the snapshot of epoch {epoch}", processor_of=classifier.files))
    limits = replace(classifier.origin.limits, weight_bytes=min(classifier.origin.limits.weight_bytes, most_bytes))
    return Snapshot(epoch, name, lambda stop: _of_its_training(classifier, epoch, load(
        f"{classifier.name}@{name}", token=classifier.origin.token, limits=limits, stop=stop)))


def _of_its_training(classifier: Classifier, epoch: int, snapshot: Classifier) -> Classifier:
    """Branches outlive the model that they were sent with: publishing notes in each the history of its training up to there. Earlier
    versions of it did not, and somebody else's need not."""
    history = snapshot.metrics.get("history")
    if not isinstance(history, list):
        raise UserError("it does not tell which training it is of: to publish the model again with --snapshots renews it")
    if history != upto(classifier.metrics.get("history"), epoch):
        raise UserError("it is of another training than the model")
    return snapshot


def upto(history, epoch: int) -> list[dict]:
    """What a training's history holds of its first epochs; a stranger's may be anything."""
    entries = history if isinstance(history, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("epoch"), int) and entry["epoch"] <= epoch]
