"""Chapter 8: take things away and see what the model misses."""

from collections.abc import Iterator

import torch

from vit_demo.chapters.extras import extras, map_scores
from vit_demo.chapters.scene import Look, mono, percent, snippet
from vit_demo.chapters.work import heat_map, told
from vit_demo.draw import data_uri, pack, picture
from vit_demo.explain import faithfulness, heads
from vit_demo.explain.methods import DEFAULT, METHODS, RANDOM
from vit_demo.explain.neighbours import nearest
from vit_demo.explain.relevance import target
from vit_demo.explain.tokens import embed, logits_keeping

NAME = "experiments"
TITLE = "What can it do without?"
DUEL = ("attention", "rollout", "chefer", "gradcam", "occlusion", DEFAULT)


def station(classifier) -> str:
    return "4 to play"


def scene(look: Look) -> dict:
    best, count = look.ranked[0], len(look.trace.patches)
    embeddings = embed(look.model, look.trace.pixel_values[None])
    half = torch.zeros(1, count, dtype=torch.bool)
    half[0, ::2] = True
    kept = logits_keeping(look.model, embeddings, half)[0].softmax(-1)[best].item()
    empty = logits_keeping(look.model, embeddings, torch.zeros_like(half))[0].softmax(-1)  # the same, whatever the picture
    blank = empty[best].item()
    wins = goal(look, blank)
    story = (
        f"The surest way to learn what matters is to take it away. A ViT takes any number of tokens, so patches can really be "
        f"dropped, not painted grey: with all {mono(count)} patches it says {look.label(best)} with "
        f"{mono(percent(look.probabilities[best].item()))}, with every second one {mono(percent(kept))}, with none at all "
        f"{mono(percent(blank))}. Without any it knows nothing of the picture: of every one it then says {look.label(empty.argmax().item())}"
        f"{'' if empty.argmax() == best else f', {mono(percent(empty.max().item()))}'}.")
    body = f"""
keep = torch.arange(0, {count}, 2)  # every second patch
with torch.no_grad():
    tokens = model.vit.embeddings(pixels)
    tokens = torch.cat([tokens[:, :1], tokens[:, 1:][:, keep]], dim=1)
    for layer in model.vit.layers:
        tokens = layer(tokens)
    logits = model.classifier(model.vit.layernorm(tokens[:, 0]))[0]
answer = logits.softmax(-1)[{best}].item()
"""
    bank = extras(look.classifier)
    return {
        "story": story, "view": "experiments",
        "equation": f"kept {mono('½ N')}: p({look.label(best)} | every second patch) = <b>{percent(kept)}</b> "
                    f"&nbsp; p({look.label(best)} | none) = <b>{percent(blank)}</b>",
        "attempt": f"keep as few patches as you can, and {look.label(best)} at {percent(wins)} or more. "
                   "Then reveal what the heat map would have kept.",
        "data": {
            **look.shown, "label": look.classifier.labels[best], "confidence": look.probabilities[best].item(), "blank": blank, "goal": wins, "between": wins > blank,
            "layers": look.config.num_hidden_layers, "heads": look.config.num_attention_heads,
            "bank": len(bank["bank"]) if "bank" in bank else 0,
            "measured": map_scores(look.classifier),
            "duel": [[name, METHODS[name].title, METHODS[name].source] for name in DUEL]
            + [[RANDOM, "A random order", "what every map must beat"]],
        },
        "check": {"code": snippet(look, body), "value": kept,
                  "says": f"What remains of {look.classifier.labels[best]} with every second patch dropped: {percent(kept)}."},
    }


def goal(look: Look, blank: float) -> float:
    """The probability that wins the erase game: halfway between no patches and all, since some class leads even without any."""
    whole = look.probabilities[look.ranked[0]].item()
    return (whole + min(blank, whole)) / 2


def answer(look: Look, question: dict) -> Iterator[dict]:
    ask = {"erase": erase, "reveal": reveal, "heads": switch, "each": each_head, "duel": duel, "nearest": alike}
    yield from ask[question["what"]](look, question)


def flags(look: Look, question: dict) -> torch.Tensor:
    """(N,) bool: the patches that the reader keeps."""
    kept = torch.zeros(len(look.trace.patches), dtype=torch.bool)
    kept[question.get("kept", [])] = True
    return kept


def erase(look: Look, question: dict) -> Iterator[dict]:
    logits = logits_keeping(look.model, embed(look.model, look.trace.pixel_values[None]), flags(look, question)[None])[0]
    yield {"what": "erase", "top": look.top(logits), "p": logits.softmax(-1)[look.ranked[0]].item()}


def reveal(look: Look, question: dict) -> Iterator[dict]:
    """How the reader's patches compare with the default map's, and how few that map needs."""
    kept, best = flags(look, question), look.ranked[0]

    def work(progress) -> dict:
        pixel_values = look.trace.pixel_values[None]
        scores = heat_map(METHODS[DEFAULT], look.model, pixel_values, target(look.model, best), lambda done, total: progress(done, 2 * total))
        order = scores.argsort(descending=True)
        growing = order.argsort()[None] < torch.arange(len(order) + 1)[:, None]  # (N+1,N): with the best 0, 1, 2 … patches
        logits = logits_keeping(look.model, embed(look.model, pixel_values), growing, progress=lambda done, total: progress(total + done, 2 * total))
        p = logits.softmax(-1)[:, best]
        won = (logits.argmax(-1) == best) & (p >= goal(look, p[0].item()))
        needed = next((count for count in range(1, len(won)) if won[count]), len(order))
        return {"what": "reveal", "values": pack(scores), "overlap": faithfulness.overlap(kept, scores),
                "by_chance": faithfulness.overlap_by_chance(int(kept.sum()), len(order)), "needed": needed, "order": order[:needed].tolist()}

    yield from told(work)


def switch(look: Look, question: dict) -> Iterator[dict]:
    """Some heads off: the reader's choice."""
    off = torch.zeros(1, look.config.num_hidden_layers, look.config.num_attention_heads, dtype=torch.bool)
    for layer, head in question.get("off", []):
        off[0, layer, head] = True
    logits = heads.logits_without(look.model, look.trace.embeddings[None], off)[0]
    yield {"what": "heads", "top": look.top(logits), "p": logits.softmax(-1)[look.ranked[0]].item()}


def each_head(look: Look, question: dict) -> Iterator[dict]:
    """Each head off, one at a time: how the answer's probability changes."""
    def work(progress) -> dict:
        without = heads.logits_without_each(look.model, look.trace.hidden_states, progress)
        return {"what": "each", "changes": heads.probability_changes(look.trace.logits, without, look.ranked[0]).tolist()}

    yield from told(work)


def duel(look: Look, question: dict) -> Iterator[dict]:
    """Each map as it is ready; at the end all their curves on this picture."""
    pixel_values, best, found = look.trace.pixel_values[None], look.ranked[0], {}
    wanted = target(look.model, best)
    for name in DUEL:
        for bit in told(lambda progress, name=name: {"map": heat_map(METHODS[name], look.model, pixel_values, wanted, progress)}):
            yield {"what": "duel", "progress": 0.6 * (len(found) + bit["progress"]) / len(DUEL)}
        found[name] = bit["map"]
        yield {"what": "duel", "maps": packed(found), "progress": 0.6 * len(found) / len(DUEL)}
    found[RANDOM] = faithfulness.random_map(len(found[DEFAULT]))

    def work(progress) -> dict:
        drawn = faithfulness.curves(look.model, embed(look.model, pixel_values), torch.stack(list(found.values())), best, steps=16,
                                    progress=lambda done, total: progress(3 * total + 2 * done, 5 * total))
        return {"maps": packed(found), "scores": drawn.score.tolist(), "shares": drawn.shares.tolist(),
                "insertion": drawn.insertion.tolist(), "deletion": drawn.deletion.tolist()}

    yield from ({"what": "duel", **bit} for bit in told(work))


def packed(maps: dict) -> dict:
    return {name: pack(values) for name, values in maps.items()}


def alike(look: Look, question: dict) -> Iterator[dict]:
    """The training pictures whose class token at a layer points most nearly the same way."""
    bank = extras(look.classifier)
    layer = question.get("layer", look.config.num_hidden_layers)
    if "bank" not in bank:
        yield {"what": "nearest", "found": None}
        return
    cosines, rows = nearest(look.trace.hidden_states[layer, 0], bank["bank"][:, layer - 1])
    labels = [look.classifier.labels[label] for label in bank["bank_labels"][rows].tolist()]
    pictures = [data_uri(picture(bank["bank_thumbnails"][row])) for row in rows]
    yield {"what": "nearest", "layer": layer, "found": [
        {"src": src, "cosine": cosine, "label": label}
        for src, cosine, label in zip(pictures, cosines.tolist(), labels, strict=True)]}
