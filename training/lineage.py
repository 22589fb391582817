"""Where a run comes from: which weights it went on from, and which data set a folder really holds."""

from pathlib import Path

from training.report import read_metrics, source_name

TOLD = ("command", "epochs", "best_epoch", "images_seen", "seconds", "device", "note")  # of each earlier run; the note is a person's, if any
# A folder may hold an exact copy of a public data set. The fingerprint of its test pictures (report.combined) says so.
KNOWN = {"4e39b9ff0b1b5d55828807e860e7f001ebf4f4f5ce9cbfdedd28db992860f3c9": "uoft-cs/cifar10"}


def descent(model: str | None) -> dict:
    """--model -> {"base_model", "earlier"}: the weights of others that all began with (None: from scratch), and our own runs
    since then, oldest first. A folder that no run of ours wrote is itself what all began with."""
    if model is None:
        return {"base_model": None, "earlier": []}
    folder = Path(model)
    metrics = read_metrics(folder) if folder.is_dir() else {}
    if "base_model" not in metrics or "command" not in metrics:
        return {"base_model": source_name(model), "earlier": []}
    return {"base_model": metrics["base_model"], "earlier": [*metrics.get("earlier", []), {name: metrics[name] for name in TOLD if name in metrics}]}


def dataset_name(source: str, test_fingerprint: str | None) -> str:
    """How others call the data set: its Hub id, or, for a folder of which nothing is known, the folder's name."""
    return KNOWN.get(test_fingerprint) or source_name(source)
