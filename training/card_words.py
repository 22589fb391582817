"""The sentences of a model card: numbers in, plain Markdown out. Nothing is claimed that metrics.json does not hold."""

import html
import re
import shlex

from training.config import TrainConfig
from training.lineage import LEARNED

# Of a data set: the part's name in metrics.json, and its pictures as counted, as left out, as fingerprinted.
PARTS = (
    ("train", "to learn from", "pictures to learn from", "training pictures"),
    ("validation", "held out to choose on", "pictures to choose on", "validation pictures"),
    ("held_out", "held out to measure on", "pictures to measure on", "held-out pictures"),
    ("test", "test pictures", "test pictures", "test pictures"),
)
MEASURED = (
    "Measured on the written files through their own image processor, the pictures read as this project reads them: upright, "
    "see-through ones on white, 16 bits scaled to 8."
)
MOST_ROWS = 100  # of the per-class table
UNEQUAL = 1.5  # times as many pictures of one class as of another, from which on their mean is told too
MOST_CLASSES = 30  # named in the opening lines
# Settings that say where a run lay and how it was watched, not what was learned.
NOT_RECIPE = {"dataset", "model", "output", "resume", "save_every", "stop_after", "workers", "resident_gb", "tracker",
              "dry_run", "image_column", "label_column", "snapshots"}


def measured_kind(metrics: dict) -> str | None:
    """test, validation, or None when nothing was measured."""
    return next((kind for kind in ("test", "validation") if metrics.get(f"{kind}_accuracy") is not None), None)


def measured_split(metrics: dict) -> str | None:
    """The data set's own split that was measured on; None for pictures held out from training."""
    dataset = metrics.get("dataset", {})
    if measured_kind(metrics) == "test":
        return dataset.get("test_split") or "test"
    return dataset.get("test_split") or (dataset.get("validation_split") if "held_out_images" not in dataset else None)


def measured_on(metrics: dict) -> str | None:
    """The data set whose pictures were measured: the one that was learned from, unless the test pictures are known as another's."""
    dataset = metrics.get("dataset", {})
    return dataset.get("test_name") or dataset.get("name")


def what(config, metrics: dict) -> str:
    """One sentence: which model this is and what it learned from."""
    data, base = code(metrics.get("dataset", {}).get("name")) or "a dataset that was not recorded", code(metrics.get("base_model"))
    size = f", {metrics['parameters']:,} parameters" if "parameters" in metrics else ""
    tested = f", tested on {code(test)}" if (test := metrics.get("dataset", {}).get("test_name")) else ""
    shape = f"{config.num_hidden_layers} layers of width {config.hidden_size} with {config.num_attention_heads} heads{size}"
    if base:
        commit = f" (commit {code(metrics['base_revision'][:12])})" if isinstance(metrics.get("base_revision"), str) else ""
        return f"{base}{commit}, a Vision Transformer ({shape}), fine-tuned on {data}{tested}."
    if "base_model" in metrics:
        return f"A plain Vision Transformer ({shape}), trained from scratch on {data}{pretraining(metrics)}{tested}: no weights of others went into it."
    return f"A plain Vision Transformer ({shape}), trained on {data}{tested}. What it started from was not recorded."


def pretraining(metrics: dict) -> str:
    """How training from scratch began, where that was without labels."""
    command = next((run["command"] for run in metrics.get("earlier", []) if pretrains(run)), None)
    if command is None:
        return ""
    here = dataset_flag(command) == dataset_flag(metrics.get("command"))
    where = "the training pictures" if here else f"the training pictures of {code(dataset_flag(command)) or 'a dataset that was not recorded'}"
    return f", first self-supervised (masked autoencoding) on {where}, then supervised"


def pretrains(run: dict) -> bool:
    return "training.pretrain" in run.get("command", "")


def dataset_flag(command: str | None) -> str | None:
    words = shlex.split(command or "")
    return words[words.index("--dataset") + 1] if "--dataset" in words[:-1] else None


def headline(metrics: dict) -> str | None:
    """96.52 % test accuracy on 10,000 pictures"""
    kind = measured_kind(metrics)
    if kind is None:
        return None
    pictures = metrics.get("images") or metrics.get("dataset", {}).get("held_out_images")
    on = f" on {pictures:,} pictures" if pictures else ""
    return f"{percent(metrics[f'{kind}_accuracy'], 2)} {kind} accuracy{on}"


def conditions(metrics: dict) -> str:
    """Everything the number depends on, as far as it was recorded."""
    kind, settings, versions = measured_kind(metrics), metrics.get("settings", {}), metrics.get("versions", {})
    seeds, seed, before = metrics.get("seeds"), metrics.get("seed"), len(earlier(metrics))
    single = f"one model, seed {seed} in the last of its {before + 1} runs" if before else f"one run, seed {seed}"
    parts = [f"mean of {len(seeds)} seeds" if seeds else single if seed is not None else "number of runs not recorded"]
    if interval := metrics.get("accuracy_ci95"):
        parts.append(f"95 % interval from the number of pictures alone {100 * interval[0]:.1f} to {percent(interval[1], 1)}")
    if f"{kind}_loss" in metrics:
        parts.append(f"cross-entropy {metrics[f'{kind}_loss']:.4f}")
    if "calibration" in metrics:
        parts.append(f"expected calibration error {percent(metrics['calibration']['ece'], 1)}")
    decay = settings.get("ema")
    if settings.get("keep") == "best":
        own = metrics.get("dataset", {}).get("validation_split")
        where = f"split {code(own)}" if own else "held-out training pictures"
        after = f" after epoch {metrics['best_epoch']} of {metrics['epochs']}," if "best_epoch" in metrics else ""
        parts.append(f"{f'weight average (decay {decay:g})' if decay else 'weights'}{after} chosen by accuracy on {where}")
    elif settings.get("keep") == "last":
        parts.append(f"weight average (decay {decay:g}) of the last step" if decay else "last weights")
    if "torch" in versions:
        parts.append(", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers") if name in versions))
    return "; ".join(parts)


def result_note(metrics: dict) -> str:
    """What kind of number the headline is, and what stands beside it where classes have unequal numbers of pictures."""
    return f"{kind_of_number(metrics)}{unequal_classes(metrics)}"


def unequal_classes(metrics: dict) -> str:
    counts = [row["support"] for row in metrics.get("per_class", []) if row["support"]]
    if "balanced_accuracy" not in metrics or max(counts, default=0) <= UNEQUAL * min(counts, default=0):
        return ""
    return (f" Its classes have from {min(counts):,} to {max(counts):,} of these pictures; counting each class alike, it is right on "
            f"{percent(metrics['balanced_accuracy'], 1)} (balanced accuracy), and the mean F1 is {percent(metrics['macro_f1'], 1)}.")


def kind_of_number(metrics: dict) -> str:
    if measured_kind(metrics) == "test":
        return MEASURED
    known = metrics.get("dataset", {}).get("known_before")
    if known == LEARNED:
        return f"**An earlier run of this model had learned from pictures that this number was measured or chosen on**: it says little about new ones. {MEASURED}"
    if own := measured_split(metrics):
        return f"This is accuracy on split {code(own)}, **not test accuracy**: the dataset has no test split, or none was used. {MEASURED}"
    return (
        "This is accuracy on training pictures that were held out, **not test accuracy**: the dataset has no test split, "
        f"or none was used. {MEASURED}"
    )


def class_rows(metrics: dict) -> list[dict]:
    rows = metrics.get("per_class", [])
    if len(rows) > MOST_ROWS:  # the table of 1,000 classes is in metrics.json
        return []
    shown = {key: (lambda value: "–" if value is None else percent(value, 1)) for key in ("precision", "recall", "f1")}
    return [{"name": plain(row["name"]), "support": f"{row['support']:,}", **{key: show(row[key]) for key, show in shown.items()}} for row in rows]


def data(metrics: dict, hub_dataset: bool, bank: int) -> str:
    """Which pictures it learned from and was measured on, with their fingerprints; `bank`: how many of them lie beside the model."""
    dataset = metrics.get("dataset", {})
    name = dataset.get("name")
    if not name:
        return "The dataset was not recorded."
    linked = link(name) if hub_dataset else code(name)
    linked += f", configuration {code(dataset['config'])}" if dataset.get("config") else ""
    counts = [f"{dataset[f'{part}_images']:,} {words}" for part, words, _, _ in PARTS if dataset.get(f"{part}_images")]
    last = "in the last run, " if earlier(metrics) else ""
    lines = [f"{linked}: {last}{', '.join(counts)}." if counts else f"{linked}."]
    if test := dataset.get("test_name"):
        lines.append(f"The test pictures are exactly those of {link(test)}; the training pictures are not exactly that dataset's.")
    unread = [f"{dataset[key]:,} of the {words}" for part, _, words, _ in PARTS if dataset.get(key := f"unreadable_{part}_images")]
    if unread:
        lines.append(f"Left out, since they could not be read: {', '.join(unread)}.")
    prints = [(words, dataset[key]) for part, _, _, words in PARTS if dataset.get(key := "fingerprint" if part == "train" else f"{part}_fingerprint")]
    if prints:
        lines.append("SHA-256 of pixels and labels, the same in any order: " + "; ".join(f"{part} `{value}`" for part, value in prints) + ".")
    if bank:
        lines.append(f"Features and small thumbnails of {bank:,} training pictures lie beside the model, for the app's nearest-pictures view.")
    return "\n\n".join(lines)


def link(dataset: str) -> str:
    return f"[{plain(dataset)}](https://huggingface.co/datasets/{dataset})"


def run(metrics: dict) -> str:
    """How long, on what."""
    if "epochs" not in metrics:
        return "How long it was trained was not recorded."
    parts = [passes(metrics)]
    if "seconds" in metrics:
        parts.append(f"{duration(metrics['seconds'])} of training")
    if "images_per_second" in metrics:
        parts.append(f"{metrics['images_per_second']:,.0f} pictures a second")
    if "device" in metrics:
        processes = metrics.get("processes", 1)
        parts.append(f"{processes} × {metrics['device']}" if processes > 1 else metrics["device"])
    if metrics.get("precision"):
        parts.append({"no": "float32", "bf16": "bfloat16 mixed precision"}.get(metrics["precision"], metrics["precision"]))
    versions = ", ".join(f"{name} {version}" for name, version in metrics.get("versions", {}).items())
    return f"{', '.join(parts)}." + (f" Versions: {versions}." if versions else "")


def passes(run: dict) -> str:
    """Epochs and pictures of a run, and of the weights that it ships where those are of an earlier epoch."""
    epochs, seen = run.get("epochs"), run.get("images_seen")
    told = ", ".join([*([f"{epochs} epochs"] if epochs else []), *([f"{seen:,} pictures seen"] if seen else [])])
    best = run.get("best_epoch", epochs)
    if best == epochs:
        return told
    return f"{told} (by the weights that it ships: {best} epochs{f', {seen * best // epochs:,} pictures' if seen else ''})"


def earlier(metrics: dict) -> list[dict]:
    """The runs that this one went on from, oldest first: {"command", "told"}."""
    return [{"command": run["command"], "told": ", ".join(filter(None, (
        "masked autoencoding, without labels" if pretrains(run) else "",
        passes(run), duration(run["seconds"]) if "seconds" in run else "", run.get("device", ""), run.get("note", ""))))}
        for run in metrics.get("earlier", []) if "command" in run]


def recipe(metrics: dict) -> list[tuple[str, str]]:
    begun = metrics.get("base_model") or metrics.get("earlier")  # then the shape was that model's, not the settings'
    left_out = NOT_RECIPE | set(TrainConfig.SHAPE if begun else ())
    return [(code(name), code(str(value))) for name, value in metrics.get("settings", {}).items() if name not in left_out and value is not None]


def calibration(metrics: dict) -> str:
    if "calibration" not in metrics:
        return "Whether its probabilities can be taken at their word was not measured."
    error = metrics["calibration"]["ece"]
    return f"Its probabilities are off by {percent(error, 1)} on average (expected calibration error), on pictures like the measured ones."


def licence(name: str, metrics: dict) -> str:
    lines = [f"The weights are under `{name}`."]
    if metrics.get("base_model"):
        lines.append(f"They were made from {code(metrics['base_model'])}, whose licence applies as well.")
    lines.append("The pictures keep the terms of their dataset.")
    return " ".join(lines)


def cite(name: str, repo: str | None, metrics: dict) -> str:
    where = f"<https://huggingface.co/{repo}>" if repo else code(name)
    return f"Name this model by its address and commit ({where}), the dataset as its authors ask, and the architecture:"


def percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plain(text) -> str:
    """Text that Markdown, HTML and a table cell show as it is: class names come from strangers' data."""
    return re.sub(r"([\\`*_{}\[\]|#~!$])", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def code(text: str | None) -> str | None:
    """`text`, or None for nothing."""
    return "`" + " ".join(str(text).replace("`", "'").replace("|", "/").split()) + "`" if text not in (None, "") else None
