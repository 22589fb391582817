"""Chapter 9, below: what the snapshots along a training make of the visitor's picture, one after the other. For a model that
brings none, a small one that the app carries is shown as it learned.

One snapshot's model is in memory at a time; what is kept is what is drawn of it, and that by the browser alone. Visitors take
turns, one snapshot each: a turn ends with the work, so that whoever leaves, or is cut off with their server, holds up nobody.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Event, Semaphore

import torch

from vit_demo import snapshots
from vit_demo.chapters.projection import COMPONENTS, signed_pictures
from vit_demo.chapters.scene import Look, folder_of, percent, snippet, whole
from vit_demo.chapters.work import told
from vit_demo.checks import is_whole
from vit_demo.classifier import Classifier, load
from vit_demo.draw import pack
from vit_demo.errors import UserError
from vit_demo.explain import embeddings, positions
from vit_demo.snapshots import Snapshot, bytes_of, film
from vit_demo.trace import trace
from vit_demo.turns import take

AT_ONCE = Semaphore(1)  # snapshots of all visitors that are open at a time
WAIT = 10  # seconds for another's
ASKED_FOR = Semaphore(4)  # lists of snapshots at a time, apart from other work: that need not wait for a Hub that is silent
UNASKED = 200_000_000  # bytes; more than that, and whatever has to come from the Hub, is opened when a visitor says so
DRAWN_WHOLE = 50_000  # cosines of positions; finer grids are left out
SHAPE = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_labels")


def lapse(look: Look, question: dict) -> Iterator[dict]:
    """{"epochs", "copies", "bytes", "open", "of"} at first; then, where it may, {"steps"}: all that is known so far of each
    snapshot. "of" is what they are drawn on: a picture as the model sees it, and whose they are if not this model's."""
    listed, stop = {}, Event()
    try:
        for bit in told(lambda progress: {"shown": shown(look)}, stop, ASKED_FOR):
            listed = bit
    except UserError as error:
        yield {"epochs": [], "problem": str(error)}
        return
    look, found, whose = listed["shown"]
    copies = sum(snapshot.name != "" for snapshot in found)
    size = copies * bytes_of(look.classifier)
    opens = bool(found) and (question.get("open", False) or look.classifier.origin is None and size <= UNASKED)
    about = {"epochs": [snapshot.epoch for snapshot in found], "copies": copies, "bytes": size, "open": opens, "of": drawn_on(look, whose), "steps": []}
    yield about
    if opens:
        yield from steps(look, found, about)


def shown(look: Look) -> tuple[Look, list[Snapshot], str | None]:
    """The film of the visitor's model; where it has none, the same picture seen by the carried one, its film, and whose it is."""
    found = [snapshot for snapshot in film(look.classifier) if is_whole(snapshot.epoch)]  # the last is what a stranger's metrics.json says
    if found or not (snapshots.CARRIED / "config.json").is_file():
        return look, found, None
    other = carried()
    weights, data = whole(other.model.num_parameters()), other.metrics["dataset"]["name"]
    whose = f"a ViT of {weights} weights, which learned {data} from scratch in {other.metrics['epochs']} epochs"
    return Look(other, trace(other, look.trace.image), picture_file=look.picture_file), film(other), whose


@lru_cache(maxsize=1)
def carried() -> Classifier:
    return load(snapshots.CARRIED)


def drawn_on(look: Look, whose: str | None) -> dict:
    return {**look.shown, "layers": look.config.num_hidden_layers, "label": look.classifier.labels[look.ranked[0]], "whose": whose}


class Busy(UserError):
    def __init__(self) -> None:
        super().__init__("another visitor's snapshots are being opened just now; try again in a minute")


@contextmanager
def turn(stop: Event):
    """Raises Busy when another's goes on for too long, and Stopped."""
    if not take(AT_ONCE, stop, WAIT):
        raise Busy
    try:
        yield
    finally:
        AT_ONCE.release()


def steps(look: Look, found: list[Snapshot], about: dict) -> Iterator[dict]:
    done, checked = [], {}
    last = embeddings.filter_components(embeddings.projection(look.model)[0], COMPONENTS).filters
    for snapshot in found:
        stop = Event()

        def work(progress, snapshot=snapshot, stop=stop) -> dict:
            with turn(stop):
                try:
                    opened = snapshot.open(stop)
                    if any(getattr(opened.model.config, key) != getattr(look.config, key) for key in SHAPE):
                        return {"step": {"problem": "it has another shape than the model"}}
                    return {"step": drawn(look, opened, last)}
                except UserError as error:
                    return {"step": {"problem": str(error)}}

        step = {"epoch": snapshot.epoch, "accuracy": accuracy(look.classifier.metrics, snapshot.epoch)}
        try:
            for bit in told(work, stop):
                if "step" not in bit:  # a large one is on its way, and a visitor may leave meanwhile
                    yield about | {"steps": list(done), "progress": len(done) / len(found), **checked}
                step |= bit.get("step", {})
        except Busy as error:
            rest = [{"epoch": missed.epoch, "problem": str(error)} for missed in found[len(done):]]
            yield about | ({"steps": done + rest, "progress": 1, **checked} if done else {"open": False, "problem": str(error)})
            return
        done.append(step)
        if not checked and snapshot.name and "p" in step:
            checked = {"check": check(look, snapshot, step)}
        yield about | {"steps": list(done), "progress": len(done) / len(found), **checked}


@torch.no_grad()
def drawn(look: Look, opened: Classifier, last: torch.Tensor) -> dict:
    """What is shown of one snapshot; none of it is large. last: the model's own filter components (n,3,P,P)."""
    model, best = opened.viewing, look.ranked[0]
    weight, _ = embeddings.projection(model)
    components = embeddings.filter_components(weight, COMPONENTS)
    similarity = positions.position_similarity(model.vit.embeddings.position_embeddings[0], look.trace.grid)
    output = model(look.trace.pixel_values[None], output_attentions=True)
    attention = torch.stack([layer[0, :, 0, 1:].mean(dim=0) for layer in output.attentions])  # (L,N), CLS, mean of heads
    probabilities = output.logits[0].softmax(-1)
    said = probabilities.argmax().item()
    return {
        "filters": pack(signed_pictures(embeddings.turned(components.filters, last)), "u8"),
        "explained": components.explained[:8].sum().item(),
        "similarity": pack(similarity, "u8") if similarity.numel() <= DRAWN_WHOLE else None,
        "beside": positions.neighbour_similarity(similarity)[0],
        "attention": pack(attention, "u16"),
        "p": probabilities[best].item(), "says": look.classifier.labels[said], "sure": probabilities[said].item(),
    }


def accuracy(metrics: dict, epoch: int) -> list | None:
    """[share, of which pictures] after that epoch, where the history of the training has it."""
    history = metrics.get("history")
    for entry in history if isinstance(history, list) else []:
        if isinstance(entry, dict) and entry.get("epoch") == epoch:
            for kind, name in (("validation", "the validation pictures"), ("train", "the augmented training pictures")):
                share = entry.get(f"{kind}_accuracy")
                if isinstance(share, float) and 0 <= share <= 1:
                    return [share, name]
    return None


def check(look: Look, snapshot: Snapshot, step: dict) -> dict:
    source, best = look.classifier, look.ranked[0]
    place = f'"{source.name}", revision="{snapshot.name}"' if source.origin else folder_of(source, f"/snapshots/{snapshot.name}")
    body = f"""
snapshot = ViTForImageClassification.from_pretrained({place}, dtype=torch.float32)
with torch.no_grad():
    answer = snapshot(pixels).logits[0].softmax(-1)[{best}].item()
"""
    return {"code": snippet(look, body), "value": step["p"],
            "says": f"How sure it was of {source.labels[best]} after epoch {snapshot.epoch}: {percent(step['p'])}."}
