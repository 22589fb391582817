"""Chapter 6: what the tokens would answer after each layer, and how they change on the way."""

from collections.abc import Iterator

from vit_demo.chapters import block
from vit_demo.chapters.scene import Look, live, many, mono, percent, snippet
from vit_demo.draw import pack
from vit_demo.explain import lens

NAME = "depth"
TITLE = "When does it make up its mind?"
CURVES = 4  # classes followed through the layers, and the one that is said before the first
SENT_WHOLE = 300_000  # cosines; beyond, one layer at a time


def station(classifier) -> str:
    return many(classifier.model.config.num_hidden_layers, "layer")


def scene(look: Look) -> dict:
    trace, labels = look.trace, look.classifier.labels
    probabilities = lens.logit_lens(look.model, trace.hidden_states).softmax(-1)  # (L+1,T,K)
    cls, best = probabilities[:, 0], look.ranked[0]
    leads = [*(cls[:-1].argmax(-1) == best).tolist(), True]  # the last one is the answer itself, however near the second
    decided = next(layer for layer in range(len(leads)) if all(leads[layer:]))
    early = cls[0].argmax().item()
    followed = list(dict.fromkeys([*look.ranked[:CURVES], early]))
    top = probabilities.topk(min(3, len(labels)))
    added = lens.contributions(look.model, trace.hidden_states)
    lengths = lens.norms(trace.hidden_states)
    half = len(leads) // 2  # where the page opens: after the last layer nothing reads the patches any more
    opened, written = block.inside(look, half, 0), block.written(look, added)
    story = (
        f"Every layer writes into the same {mono(trace.hidden_states.shape[-1])} numbers of a token, so we may stop early and read "
        f"them as if they were the last: this is the logit lens. Before the first layer the class token would say "
        f"{look.label(early)}, whatever the picture; {settled(look, decided, cls[:, best].tolist())} "
        f"Read {live('when', kind='w')} at patch {live('patch', kind='')} instead, it says {live('says', kind='w')}: "
        f"{live('holds', kind='w')}. The model itself reads the class token alone.")
    body = f"""
layer = {half}  # 0: before the first
with torch.no_grad():
    hidden = model(pixels, output_hidden_states=True).hidden_states[layer][0, 0]  # CLS
    answer = model.classifier(model.vit.layernorm(hidden)).softmax(-1)[{best}].item()
"""
    return {
        "story": story, "view": "depth",
        "equation": f"lens(CLS after layer {live('layer')}) = softmax(W · norm(h) + b) = {live('cls', kind='w')}<br>"
                    f"{live('inside', kind='w')}, number 0: in + attention = {live('between', kind='')}<br>"
                    f"then, of the same: between + MLP = {live('leaving', kind='')}",
        "attempt": f"move the layer slider up from {mono(0)}: the framed patches say {look.label(best)}. Which of them say so before the class token does?",
        "data": {
            **look.shown, "layers": len(leads) - 1, "after": half, "classes": [labels[i] for i in followed],
            "curves": [[round(p, 5) for p in cls[:, i].tolist()] for i in followed],
            "best": pack(probabilities[:, 1:, best], "u16"), "label": labels[best], "answer": best, "labels": used(labels, top.indices),
            "top": top.indices.tolist(), "tops": pack(top.values, "u16"),
            "norms": {"CLS": lengths[:, 0].tolist(), "patches": lengths[:, 1:].mean(1).tolist()},
            "added": {"attention": added.attention.norm(dim=-1).mean(1).tolist(), "MLP": added.mlp.norm(dim=-1).mean(1).tolist()},
            **cosines(look, half), "block": opened, "written": written,
        },
        "also": [block.inside_check(look, half, 0, opened["strips"][2]["length"]), block.written_check(look, written["MLP"][-1])],
        "check": {"code": snippet(look, body), "value": cls[half, best].item(),
                  "says": f"How sure the class token is of {labels[best]} after layer {half}: {percent(cls[half, best].item())}."},
    }


def settled(look: Look, decided: int, sure: list[float]) -> str:
    """From which layer on the class token says the answer, how surely, and which layer makes it sure: `sure` is told after 0, 1 … layers."""
    label = look.label(look.ranked[0])
    said = f"after layer {mono(decided)} it says {label}, {mono(percent(sure[decided]))}{', and keeps to it' if decided < len(sure) - 1 else ''}" if decided else f"it keeps saying {label}"
    layer = max(range(1, len(sure)), key=lambda layer: sure[layer] - sure[layer - 1])
    if sure[layer] <= sure[layer - 1]:
        return f"{said}; in the end with {mono(percent(sure[-1]))}."
    return f"{said}. The largest step is that of layer {mono(layer)}, from {mono(percent(sure[layer - 1]))} to {mono(percent(sure[layer]))}."


def used(labels, indices) -> dict:
    """The names of the classes that occur among `indices`: a model may have a thousand."""
    return {str(index): labels[index] for index in sorted(set(indices.flatten().tolist()))}


def cosines(look: Look, layer: int) -> dict:
    """Cosines between patches (…,N,N): of all depths where they are few, else after that layer."""
    hidden = look.trace.hidden_states
    patches = hidden.shape[1] - 1
    if len(hidden) * patches ** 2 <= SENT_WHOLE:
        return {"cosines": pack(lens.patch_similarity(hidden), "u8"), "at": None}
    return {"cosines": pack(lens.patch_similarity(hidden[layer:layer + 1])[0], "u8"), "at": layer}


def answer(look: Look, question: dict) -> Iterator[dict]:
    """The cosines of another layer; or a token on its way through a layer."""
    layer = question.get("layer", look.config.num_hidden_layers)
    yield block.inside(look, layer, question.get("token", 0)) if question["what"] == "block" else cosines(look, layer)
