"""What may be asked of a chapter beyond its scene, and the bounds of it. Questions come from the browser, and from
anybody's program: one that is not understood gets a line that says what would be."""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

from vit_demo.chapters import CHAPTERS, attention, decision, depth, experiments, model, patches, resize, tokens
from vit_demo.chapters.scene import Look
from vit_demo.checks import is_number, is_whole, shown
from vit_demo.errors import UserError
from vit_demo.explain.attention import FUSIONS
from vit_demo.explain.methods import METHODS
from vit_demo.explain.positions import POSITIONS


class Check(NamedTuple):
    """What a word may be, of this model and picture."""

    read: Callable[[Look, object], object]  # what was given -> what the chapter takes; None: it will not do
    says: Callable[[Look], str]  # what would


def between(least: int, most: Callable[[Look], int]) -> Check:
    return Check(lambda look, value: value if is_whole(value) and least <= value <= most(look) else None,
                 lambda look: f"a whole number from {least} to {most(look)}")


def share(most: float = 1.0) -> Check:
    return Check(lambda look, value: float(value) if is_number(value) and 0 <= value <= most else None, lambda look: f"a number from 0 to {most:g}")


def one_of(names) -> Check:
    return Check(lambda look, value: value if isinstance(value, str) and value in names else None, lambda look: f"one of {', '.join(names)}")


def numbered(labels: tuple[str, ...], value: object) -> int | None:
    """A class by its number or by its name."""
    if isinstance(value, str) and value in labels:
        return labels.index(value)
    return value if is_whole(value) and 0 <= value < len(labels) else None


def named(look: Look) -> str:
    return f"a class by its name or its number, from 0 to {len(look.classifier.labels) - 1}"


def list_of(check: Check) -> Check:
    def checked(look: Look, values: object) -> object:
        if not isinstance(values, list) or len(values) > 10_000:
            return None
        found = [check.read(look, value) for value in values]
        return None if None in found else found

    return Check(checked, lambda look: f"a list, in it {check.says(look)} each time")


def head_of(look: Look, value: object) -> object:
    shape = look.config.num_hidden_layers, look.config.num_attention_heads
    good = isinstance(value, list) and len(value) == 2 and all(is_whole(n) and 0 <= n < most for n, most in zip(value, shape, strict=True))
    return value if good else None


def layers(look: Look) -> int:
    return look.config.num_hidden_layers


yes_or_no = Check(lambda look, value: value if isinstance(value, bool) else None, lambda look: "true or false")
a_class = Check(lambda look, value: numbered(look.classifier.labels, value), named)
another_class = Check(lambda look, value: -1 if value == -1 else numbered(look.classifier.labels, value), lambda look: f"{named(look)}, or -1 for any other")
a_size = Check(lambda look, value: value if is_whole(value) and value in resize.sizes(look) else None,
               lambda look: f"one of {', '.join(map(str, resize.sizes(look))) or 'none'}")
a_head = Check(head_of, lambda look: f"[layer, head], a layer from 0 to {layers(look) - 1} and a head from 0 to {look.config.num_attention_heads - 1}")
a_patch = between(0, lambda look: len(look.trace.patches) - 1)

# chapter -> what -> its further words. The first is meant where none is named.
ASKED: dict[ModuleType, dict[str, dict[str, Check]]] = {
    patches: {"time": {}},
    tokens: {"jigsaw": {"share": share(), "seed": between(0, lambda look: 10 ** 9), "positions": one_of(POSITIONS)}, "curve": {},
             "resize": {"size": a_size, "patch": a_patch}},
    attention: {"look": {"layer": between(0, lambda look: layers(look) - 1), "token": between(0, lambda look: len(look.trace.patches))},
                "rollout": {"fusion": one_of(FUSIONS), "discard": share(0.95)}},
    depth: {"cosines": {"layer": between(0, layers)},
            "block": {"layer": between(1, layers), "token": between(0, lambda look: len(look.trace.patches))}},
    decision: {"map": {"wanted": a_class, "against": another_class, "method": one_of(METHODS)}},
    experiments: {"erase": {"kept": list_of(a_patch)}, "reveal": {"kept": list_of(a_patch)}, "heads": {"off": list_of(a_head)},
                  "each": {}, "duel": {}, "nearest": {"layer": between(1, layers)}},
    model: {"lapse": {"open": yes_or_no}},
}


def read(look: Look, chapter: int, question: object) -> dict:
    """The question, every word of it one that the chapter (from 1) knows. Raises UserError."""
    asked = ASKED.get(CHAPTERS[chapter - 1])
    if not asked:
        raise UserError(f"chapter {chapter} answers no questions; its scene tells all it knows")
    words = dict(question) if isinstance(question, dict) else {}
    what = words.pop("what", next(iter(asked)))
    if not isinstance(question, dict) or not isinstance(what, str) or what not in asked:
        raise UserError(f"chapter {chapter} understands a question as a table with what = {', '.join(map(told, asked.items()))}")
    for name in words:
        if name not in asked[what]:
            raise UserError(f"{what} of chapter {chapter} knows no {shown(name)}; it knows {', '.join(asked[what]) or 'nothing more'}")
    checked = {name: asked[what][name].read(look, value) for name, value in words.items()}
    for name, value in checked.items():
        if value is None:
            given = "that" if isinstance(words[name], (list, dict)) else shown(words[name])
            raise UserError(f"{what} of chapter {chapter}: {name} cannot be {given} for this model and picture: it is {asked[what][name].says(look)}")
    return {"what": what, **checked}


def told(asked: tuple[str, dict]) -> str:
    what, words = asked
    return f"{what} ({', '.join(words)})" if words else what
