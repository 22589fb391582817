"""From logits and labels to the numbers that a model is judged by. Pure: tensors in, numbers out, ready for JSON.

Legend: M pictures, K classes. Accuracies and probabilities are shares between 0 and 1.
"""

import torch
from torch.nn import functional as F

from vit_demo.errors import UserError

CALIBRATION_BINS = 15
MISTAKES_KEPT = 24
# A full K x K table of counts in metrics.json stays readable, and small, up to here.
CONFUSION_CLASSES = 200


def scores(logits: torch.Tensor, labels, names) -> dict:
    """logits (M,K), labels (M,), K names -> accuracy, its interval, means over classes, loss, confusion, per_class, calibration, mistakes."""
    labels = torch.as_tensor(labels).long().cpu()
    logits = logits.detach().cpu().double()
    check(logits, labels, names)
    predicted = logits.argmax(1)
    right = int((predicted == labels).sum())
    confusion = confusion_counts(predicted, labels, len(names))
    classes = per_class(confusion, names)
    numbers = {
        "accuracy": right / len(labels),
        "accuracy_ci95": wilson_interval(right, len(labels)),
        "balanced_accuracy": mean_of("recall", classes),
        "macro_f1": mean_of("f1", classes),
        "loss": F.cross_entropy(logits, labels).item(),
        "images": len(labels),
        "confusion": confusion.tolist() if len(names) <= CONFUSION_CLASSES else None,
        "per_class": classes,
        "calibration": calibration(logits.softmax(1), labels),
        "mistakes": mistakes(logits.softmax(1), labels, MISTAKES_KEPT),
    }
    if len(names) > 5:
        top5 = logits.topk(5, dim=1).indices
        numbers["top5_accuracy"] = (top5 == labels[:, None]).any(1).double().mean().item()
    return numbers


def check(logits: torch.Tensor, labels: torch.Tensor, names) -> None:
    """Refuses what would give a number without a meaning."""
    if len(labels) == 0:
        raise UserError("there are no pictures to measure on: choose a split that is not empty")
    if logits.shape != (len(labels), len(names)):
        raise UserError(
            f"{tuple(logits.shape)} logits do not fit {len(labels)} labels and {len(names)} class names: "
            "give one row a picture and one column a class"
        )
    if not logits.isfinite().all():
        raise UserError("the model answers with numbers that are not finite: its weights are damaged, train or fetch it again")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(names):
        raise UserError(
            f"labels go from {low} to {high}, the model knows classes 0 to {len(names) - 1}: give each picture a class it knows"
        )


def confusion_counts(predicted: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """predicted (M,), labels (M,) -> (K,K) counts; row = true class, column = predicted class."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def per_class(confusion: torch.Tensor, names) -> list[dict]:
    """(K,K) counts -> for each class precision, recall, F1 and support.

    None where the fraction has nothing below the line: a class never predicted has no precision."""
    hits, predicted, support = confusion.diag().tolist(), confusion.sum(0).tolist(), confusion.sum(1).tolist()
    return [
        {
            "name": name,
            "precision": share(hits[k], predicted[k]),
            "recall": share(hits[k], support[k]),
            "f1": share(2 * hits[k], predicted[k] + support[k]),
            "support": support[k],
        }
        for k, name in enumerate(names)
    ]


def mean_of(number: str, classes: list[dict]) -> float:
    """Over the classes that have it, each counted alike, however many pictures it has."""
    found = [row[number] for row in classes if row[number] is not None]
    return sum(found) / len(found)


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def calibration(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = CALIBRATION_BINS) -> dict:
    """probabilities (M,K), labels (M,) -> expected calibration error and the bins of the reliability diagram.

    Pictures fall into equal bins by the probability of the predicted class; a bin's gap is |share right - mean
    probability|; the error is the mean gap, weighted by pictures. Guo et al. 2017, arXiv:1706.04599."""
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    # Bins are open on the left, so that a probability of 1 lies in the last one.
    which = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    rows, error = [], 0.0
    for bin_number in range(bins):
        inside = which == bin_number
        count = int(inside.sum())
        row = {"low": bin_number / bins, "high": (bin_number + 1) / bins, "count": count, "confidence": None, "accuracy": None}
        if count:
            row["confidence"], row["accuracy"] = confidence[inside].mean().item(), right[inside].mean().item()
            error += count / len(labels) * abs(row["accuracy"] - row["confidence"])
        rows.append(row)
    return {"ece": error, "bins": rows}


def mistakes(probabilities: torch.Tensor, labels: torch.Tensor, limit: int) -> list[dict]:
    """probabilities (M,K), labels (M,) -> the wrong answers the model was surest of, surest first, at most `limit`."""
    confidence, predicted = probabilities.max(1)
    wrong = (predicted != labels).nonzero().flatten()
    surest = wrong[confidence[wrong].argsort(descending=True, stable=True)][:limit]
    return [
        {"index": i, "label": int(labels[i]), "predicted": int(predicted[i]), "confidence": confidence[i].item()}
        for i in surest.tolist()
    ]


def wilson_interval(right: int, total: int) -> list[float]:
    """[low, high]: where the accuracy on endless pictures of this kind lies, 95 of 100 times, from the number of pictures alone.

    Wilson 1927. It says nothing about another seed or other pictures."""
    z = 1.959964
    p, scale = right / total, 1 + z * z / total
    centre = (p + z * z / (2 * total)) / scale
    half = z * ((p * (1 - p) + z * z / (4 * total)) / total) ** 0.5 / scale
    return [max(0.0, centre - half), min(1.0, centre + half)]
