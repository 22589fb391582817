"""What stands on the left: the picture, the answer with its caveat, the samples, which model answers."""

from functools import cache
from html import escape

from PIL import Image

from vit_demo.chapters.scene import Look, percent
from vit_demo.draw import data_uri, picture
from vit_demo.looks import Visit
from vit_demo.models import Models
from vit_demo.samples import SAMPLES

MOST_BARS = 20


def of(look: Look, visit: Visit) -> dict:
    """The value of the left column's view."""
    labels, rows_cols = look.classifier.labels, look.trace.grid
    top = [[labels[i], look.probabilities[i].item()] for i in look.ranked[:MOST_BARS]]
    right = None if look.truth is None or look.truth not in labels else look.truth == top[0][0]
    return {
        "src": data_uri(picture(look.seen)), "rows": rows_cols[0], "cols": rows_cols[1],
        "alt": "Your picture" if look.truth is None else f"Sample {visit.sample}, a {look.truth}",
        "top": top, "note": note(look, visit, right), "sample": visit.sample if visit.upload is None else None,
        "right": right, "model": f"{look.classifier.name}@{look.classifier.revision}",
        "samples": [{"src": uri, "label": label} for uri, label in thumbnails()],
    }


def note(look: Look, visit: Visit, right: bool | None) -> list[list[str]]:
    """Sentences under the answer, each with its tone."""
    classes = len(look.classifier.labels)
    sentences = []
    if look.truth is not None:
        sentences.append([f"Test picture {visit.sample}, truth: {look.truth}. ", ""])
        if right is None:
            sentences.append(["This model has no such class. ", ""])
        else:
            sentences.append(["The model is right. ", "good"] if right else ["The model is wrong. ", "bad"])
    elif look.trace.image.info.get("animated"):
        sentences.append(["Only the first frame of your picture is used. ", ""])
    sentences.append([f"It knows these {classes} classes only and always picks one.", ""])
    return sentences


@cache
def thumbnails() -> list[tuple[str, str]]:
    """(data address, true label) of each sample."""
    return [(data_uri(Image.open(path)), label) for path, _, label in SAMPLES]


def line(text: str, tone: str = "") -> str:
    return f'<p class="vit quiet {tone}" role="status">{escape(text)}</p>'


def model_line(models: Models, visit: Visit) -> str:
    """Which model answers, and what became of the one that was asked for."""
    answers, wanted = models.get(visit.source), models.wanted
    revision = f", revision {answers.revision[:8]}" if answers.revision else ""
    text = f"Answering: {describe(answers)}{revision}."
    if answers.note:
        text += f" {answers.note}"
    if wanted is not None and answers is not wanted.classifier:
        text += f" {wanted.line()}"
    return line(text, "bad" if wanted is not None and wanted.problem else "")


def describe(classifier) -> str:
    accuracy = classifier.metrics.get("test_accuracy")
    name = "the bundled model" if classifier.name == "bundled" else classifier.name
    return name + (f" ({percent(accuracy)} of the test pictures right)" if isinstance(accuracy, float) else "")
