"""Chapter 9: the model itself: how it was made, how often it is right, and when to believe it."""

import re
from collections.abc import Iterator

from vit_demo.chapters.lapse import lapse
from vit_demo.chapters.scene import Look, a, earlier, many, mono, number, percent, snippet, whole
from vit_demo.checks import is_number, is_whole

NAME = "the model"
TITLE = "How far can you trust it?"
NAMED = re.compile(r"[\w-]{1,40}")  # a split
HELD_OUT = ("test", "validation")  # splits that are not learned from
MOST_CLASSES = 20  # a confusion matrix of more cannot be read


def station(classifier) -> str:
    return f"{parameters(classifier) / 1e6:.1f} M weights"


def parameters(classifier) -> int:
    return sum(p.numel() for p in classifier.model.parameters())


def scene(look: Look) -> dict:
    classifier, config, metrics = look.classifier, look.config, look.classifier.metrics
    count, confidence = parameters(classifier), look.probabilities.max().item()
    split, accuracy = measured(metrics)
    claim = f"{look.label(look.ranked[0])}, {mono(percent(confidence))}"
    bins = reliability(metrics)
    like = next((b for b in bins if b["low"] < confidence <= b["high"] and b["count"]), None)
    story = f"All that this model knows lies in {mono(whole(count))} numbers. "
    if accuracy is None:
        story += (f"How good it is has not been measured{'' if metrics else ': no metrics.json lies beside it'}. Of this picture it claims: "
                  f"{claim}. Whether such claims hold is exactly what a measurement would say. "
                  "<code>python -m training.evaluate</code> makes one.")
    else:
        story += (f"On {split} pictures{' that it had not learned from,' if split in HELD_OUT else ''} it was right in "
                  f"{mono(percent(accuracy, exact=True))} of cases. ")
        story += (f"Here it claims: {claim}. " + (
            f"When it was about as sure on {split} pictures ({mono(whole(like['count']))} of them), it was right in "
            f"{mono(percent(like['accuracy']))}." if like else ""))
    if smoothed := asked(classifier):
        story += f" {smoothed}{', so it is right more often than it says' if modest(bins) else ''}."
    body = """
answer = float(sum(parameter.numel() for parameter in model.parameters()))
"""
    width, layers = config.hidden_size, config.num_hidden_layers
    return {
        "story": story, "view": "model",
        "equation": f"{many(layers, 'layer')} × (4·{width}² + 2·{width}·{config.intermediate_size} + …) + embeddings + head "
                    f"= <b>{whole(count)}</b> weights",
        "attempt": f"upload a picture of {none_of(look)}: what does it make of it, and how sure is it?{mixed_up(look)}" if accuracy is not None else
                   "load another model from the Hub on the left, and compare what the two say of the same picture.",
        "data": {"facts": facts(look), "runs": [[taken(run), plain(run.get("command"), 400) or ""] for run in earlier(metrics)], "confidence": confidence, "bins": bins, "confusion": confusion(look),
                 "truth": classifier.labels.index(look.truth) if look.truth in classifier.labels else None,
                 "said": look.ranked[0]},
        "check": {"code": snippet(look, body), "value": float(count), "says": "The number of weights, counted."},
    }


def answer(look: Look, question: dict) -> Iterator[dict]:
    """The training in pictures, from the model's snapshots."""
    yield from lapse(look, question)


def is_share(value) -> bool:
    return is_number(value) and 0 <= value <= 1


def measured(metrics: dict) -> tuple[str, float | None]:
    """Which pictures it was measured on (a plain word), and its accuracy; a stranger's metrics.json may hold anything."""
    for split in HELD_OUT:
        if is_share(metrics.get(f"{split}_accuracy")):
            return split, metrics[f"{split}_accuracy"]
    accuracy, split = metrics.get("accuracy"), metrics.get("split")  # as training.evaluate writes them
    return (split if isinstance(split, str) and NAMED.fullmatch(split) else "measured", accuracy) if is_share(accuracy) else ("test", None)


def asked(classifier, shown=mono) -> str:
    """How sure training asked it to be at most, where its label smoothing is known."""
    settings, classes = classifier.metrics.get("settings"), len(classifier.labels)
    smoothing = settings.get("label_smoothing") if isinstance(settings, dict) else None
    if classes < 2 or not is_share(smoothing) or smoothing < 0.001:
        return ""
    return f"Training asked for {shown(percent(1 - smoothing + smoothing / classes))} and no more (label smoothing {shown(f'{smoothing:g}')})"


def modest(bins: list[dict]) -> bool:
    """Whether it was right more often than it said, all in all."""
    return sum(b["count"] * (b["accuracy"] - b["confidence"]) for b in bins if b["count"]) > 0


def none_of(look: Look) -> str:
    classes = len(look.classifier.labels)
    return f"none of its {mono(whole(classes))} classes" if classes > 1 else f"something other than {look.label(0)}"


def mixed_up(look: Look) -> str:
    """The two classes of which it takes one for the other most often, to be tried."""
    found = confusion(look)
    counts = found["counts"] if found else []
    most, truth, said = max(((n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j), default=(0, 0, 0))
    return f" Then one of {a(look.label(truth))} that it could take for {a(look.label(said))}, its commonest mistake." if most else ""


def reliability(metrics: dict) -> list[dict]:
    calibration = metrics.get("calibration")
    bins = calibration.get("bins") if isinstance(calibration, dict) else None
    good = [{key: b.get(key) for key in ("low", "high", "count", "confidence", "accuracy")}
            for b in bins if isinstance(b, dict)] if isinstance(bins, list) else []
    return [b for b in good if is_share(b["low"]) and is_share(b["high"]) and is_whole(b["count"]) and (
        b["count"] == 0 or is_share(b["confidence"]) and is_share(b["accuracy"]))]


def confusion(look: Look) -> dict | None:
    """Counts (K,K), rows the truth, with the labels; where there are few enough classes to see."""
    labels, counts = look.classifier.labels, look.classifier.metrics.get("confusion")
    def whole_row(row) -> bool:
        return isinstance(row, list) and len(row) == len(labels) and all(is_whole(n) and n >= 0 for n in row)

    if len(labels) > MOST_CLASSES or not isinstance(counts, list) or len(counts) != len(labels) or not all(map(whole_row, counts)):
        return None
    return {"labels": list(labels), "counts": counts}


def facts(look: Look) -> list[list[str]]:
    """The card in a few lines: what is known, in plain words."""
    classifier, config, metrics = look.classifier, look.config, look.classifier.metrics
    rows, cols = look.trace.grid
    split, accuracy = measured(metrics)
    before = earlier(metrics)
    dataset = metrics.get("dataset") if isinstance(metrics.get("dataset"), dict) else {}
    known = [
        ["name", classifier.name + (f", revision {classifier.revision[:12]}" if classifier.revision else "")],
        ["shape", f"{many(config.num_hidden_layers, 'layer')}, {many(config.num_attention_heads, 'head')}, width {config.hidden_size}, "
                  f"{rows} × {cols} patches of {look.patch} px"],
        ["weights", whole(parameters(classifier))],
        ["accuracy", accuracy is not None and f"{100 * accuracy:.2f} % of the {split} pictures" + interval(metrics)],
        ["learned from", plain(dataset.get("name")) and f"{plain(dataset['name'])}" + (
            f", {whole(dataset['train_images'])} pictures" if is_whole(dataset.get("train_images")) else "")],
        ["started from", plain(metrics.get("base_model")) or ("base_model" in metrics and metrics["base_model"] is None and "random weights" + (", by the first of its runs" if before else ""))],
        ["training", "epochs" in metrics and taken(metrics) + (f", the last of {len(before) + 1} runs" if before else "")],
        ["device", plain(metrics.get("device"))],
        ["command", plain(metrics.get("command"), 400)],
    ]
    return [[name, value] for name, value in known if value]


def interval(metrics: dict) -> str:
    """Of how many pictures, and how far chance alone could have moved it."""
    images, ends = metrics.get("images"), metrics.get("accuracy_ci95")
    of = f", n = {whole(images)}" if is_whole(images) else ""
    good = isinstance(ends, list) and len(ends) == 2 and all(map(is_share, ends))
    return of + (f", 95 % interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f} %" if good else "")


def taken(run: dict) -> str:
    epochs, seconds = (run.get(name) if is_number(run.get(name)) else None for name in ("epochs", "seconds"))
    return ", ".join(([many(f"{epochs:g}", "epoch")] if epochs else []) + ([many(number(seconds / 60, 0), "minute")] if seconds else []))


def plain(value, longest: int = 120) -> str | None:
    return value[:longest] if isinstance(value, str) and value else None
