"""Chapter 7: from ten numbers to an answer, and what in the picture spoke for it."""

import math
from collections.abc import Iterator

import torch

from vit_demo.chapters.extras import extras, map_scores
from vit_demo.chapters.model import asked
from vit_demo.chapters.scene import Look, live, mono, number, percent, snippet
from vit_demo.chapters.work import attribution, told
from vit_demo.draw import pack
from vit_demo.explain import uncertainty
from vit_demo.explain.attribution import Attribution, patches_of
from vit_demo.explain.faithfulness import curves, random_map
from vit_demo.explain.methods import DEFAULT, METHODS, opening
from vit_demo.explain.relevance import target
from vit_demo.explain.tokens import embed

NAME = "decision"
TITLE = "Why this answer and not another?"
SHOWN_CLASSES = 10
ORDINARY = 0.95  # of held-out pictures; whose energy is higher than that of so many is told to be unlike them


def station(classifier) -> str:
    return f"{len(classifier.labels)} logits"


def scene(look: Look) -> dict:
    logits, labels = look.trace.logits, look.classifier.labels
    first, second = look.ranked[0], look.ranked[1] if len(labels) > 1 else look.ranked[0]
    p = look.probabilities[first].item()
    none = energy(look)
    odds = math.exp(min((logits[first] - logits[second]).item(), 50))
    compared = (f"The logit of {look.label(first)} is {mono(number(logits[first].item()))}, that of {look.label(second)} "
                f"{mono(number(logits[second].item()))}: {look.label(first)} is {about(odds)} times as likely."
                if len(labels) > 1 else f"With one class alone, {look.label(first)}, its share is 1 whatever the picture.")
    story = (
        f"In the end the class token alone is read, after a last LayerNorm: {mono(len(labels))} weighted {'sums' if len(labels) > 1 else 'sum'} "
        f"of its numbers and a bias, one for each class, the logits. Softmax makes shares of them that sum to 1: e to the power of each, "
        f"divided by all together. {compared}")
    body = f"""
with torch.no_grad():
    logits = model(pixels).logits[0]
answer = logits.softmax(-1)[{first}].item()
"""
    return {
        "story": story, "view": "decision",
        "equation": f"p({look.label(first)}) = e^({live('logit')} ÷ {live('temperature', kind='')}) ÷ Σ e^(logit ÷ "
                    f"{live('temperature', kind='')}) = {live('p')}",
        "attempt": (f"ask “why {look.label(first)}, not {look.label(second)}?” above. " if len(labels) > 1 else "")
                   + "Raise the temperature: the order stays, only the confidence goes.",
        "data": {
            **look.shown, "none": none, "none_says": none_of_them(none), "order": look.ranked[:SHOWN_CLASSES], "names": [labels[i] for i in look.ranked[:SHOWN_CLASSES]],
            "logits": pack(logits, "f32"), "methods": [[name, method.title, described(method), method.unit, method.by_class] for name, method in METHODS.items()],
            "default": opening(look.config), "asked": asked(look.classifier, str), "measured": map_scores(look.classifier),
        },
        "check": {"code": snippet(look, body), "value": p, "says": f"The probability of {labels[first]}: {percent(p)}."},
    }


def about(odds: float) -> str:
    """How many times as likely, no more exactly than the shown logits tell."""
    return mono("over 1,000") if odds >= 1000 else f"about {mono(number(odds, 0 if odds >= 10 else 1))}"


def described(method) -> str:
    return f"{method.title}: {method.says} ({method.source})."


def sums(found, start: str, of: str) -> str:
    """What the shares should sum to, and do; how sure an estimate of them is. Nothing of maps that are no shares."""
    if not isinstance(found, Attribution):
        return ""
    told = f"The patches sum to {number(found.change + found.gap)}; the {of} changes by {number(found.change)} from {start} to the whole picture."
    if found.draws:
        told += f" Estimated from {found.draws:,} draws."
    if found.agreement is not None:
        told += f" By its two halves, another such estimate would agree with it to {number(found.agreement)} (correlation; 1 is the same map)."
    return told


def none_of_them(found: dict | None) -> str:
    """How far the picture is from all classes, where training left a table of energies beside the model."""
    if found is None:
        return ("How far a picture is from all classes can be told only where a table of energies lies beside the model: "
                "python -m training.train leaves one there.")
    told = (f"Its energy, {number(found['energy'])} = −log Σ e^logit, is higher than that of {percent(found['share'])} of held-out pictures "
            "(Liu et al. 2020, arXiv:2010.03759). ")
    if found["share"] <= ORDINARY:
        return told + f"So it lies among ordinary pictures; one above {percent(ORDINARY)} may be like none of the classes."
    return told + "Only 1 in 20 of those lies as high: it may be like none of the classes."


def energy(look: Look) -> dict | None:
    """The picture's energy, and the share of held-out pictures whose energy is lower."""
    energies = extras(look.classifier).get("energies")
    if energies is None:
        return None
    here = uncertainty.energy(look.trace.logits).item()
    return {"energy": here, "share": uncertainty.percentile(here, energies) / 100}


def answer(look: Look, question: dict) -> Iterator[dict]:
    """A map of what speaks for a class (against another): {"values" (N,), "score" of this map and of a random one}."""
    wanted, against = question.get("wanted", look.ranked[0]), question.get("against", -1)
    against = None if against in (-1, wanted) else against  # any other
    name = question.get("method", DEFAULT)
    method = METHODS[name]

    def work(progress) -> dict:
        pixel_values = look.trace.pixel_values[None]
        found = attribution(method, look.model, pixel_values, target(look.model, wanted, against), lambda done, total: progress(3 * done, 5 * total))
        scores = patches_of(found)
        maps = torch.stack([scores, random_map(len(scores))])
        drawn = curves(look.model, embed(look.model, pixel_values), maps, wanted, against, steps=16,
                       progress=lambda done, total: progress(3 * total + 2 * done, 5 * total))
        return {"values": pack(scores), "signed": method.signed, "method": name,
                "sums": sums(found, method.start, "logit" if against is None else "difference of the two logits"),
                "score": drawn.score.tolist(), "shares": drawn.shares.tolist(),
                "insertion": drawn.insertion.tolist(), "deletion": drawn.deletion.tolist()}

    yield from told(work)
