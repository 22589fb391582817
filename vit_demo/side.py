"""What stands on the left: the picture, the answer with its caveat, the samples, which model answers."""

from functools import cache

from PIL import Image

from vit_demo.chapters.model import is_share
from vit_demo.chapters.scene import Look, a, called, percent
from vit_demo.classifier import Classifier
from vit_demo.draw import data_uri
from vit_demo.looks import Visit
from vit_demo.models import Loading, Models
from vit_demo.samples import SAMPLES

MOST_BARS = 20


def of(look: Look, visit: Visit) -> dict:
    """The value of the left column's view."""
    labels = look.classifier.labels
    top = [[labels[i], look.probabilities[i].item()] for i in look.ranked[:MOST_BARS]]
    right = None if look.truth is None or look.truth not in labels else look.truth == top[0][0]
    return {
        **look.shown, "alt": "Your picture" if look.truth is None else f"Sample {visit.sample}, {a(look.truth)}",
        "top": top, "note": note(look, visit, right), "sample": visit.sample if visit.upload is None else None,
        "right": right, "model": identity(look.classifier),
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


def answering(models: Models, visit: Visit) -> dict:
    """The value of the line above the picture: which model answers, what became of another one, and what is newer."""
    answers, held, wanted = models.get(visit.source), models.held(visit.source), models.wanted
    models.look_for_newer(held)
    said = [f"Answering: {describe(answers)}" + (f", revision {short(answers.revision)}." if answers.revision else ".")]
    if answers.note:
        said.append(answers.note)
    if visit.source is not None and (held is None or held.source != visit.source):
        said.append(f"{visit.source} had to make room for other visitors' models: load it again.")
    waits = wanted is not None and wanted.classifier is None
    if waits:
        said.append(wanted.line())
    return {"model": identity(answers), "text": " ".join(said), "tone": "bad" if waits and wanted.problem else "",
            "share": wanted.share if waits and not wanted.problem else None,
            "newer": short(held.newer) if held and held.newer else None}


def coming(loading: Loading, turn: int) -> dict:
    """The value of the line that tells a visitor of the model that they asked for; without a source it is gone."""
    return {"source": None if loading.classifier else loading.source or "a model without a name", "turn": turn,
            "step": loading.step, "share": loading.share, "problem": loading.problem}


def identity(classifier: Classifier) -> str:
    return f"{classifier.name}@{classifier.revision}"


def short(revision: str) -> str:
    return revision[:8]


def describe(classifier: Classifier) -> str:
    accuracy = classifier.metrics.get("test_accuracy")
    return called(classifier.name) + (f" ({percent(accuracy)} right)" if is_share(accuracy) else "")
