"""Chapter 5: every token looks at every other; who looks where, and why."""

import math
from collections.abc import Iterator

import torch

from vit_demo.chapters.scene import Look, live, many, mono, percent, snippet
from vit_demo.draw import pack
from vit_demo.explain import attention as maths

NAME = "attention"
TITLE = "Where does a patch look?"
SENT_WHOLE = 400_000  # weights; up to here all layers travel at once, beyond it only the chosen one


def station(classifier) -> str:
    config = classifier.model.config
    return f"{many(config.num_hidden_layers, 'layer')} × {many(config.num_attention_heads, 'head')}"


def scene(look: Look) -> dict:
    trace = look.trace
    attention = trace.attentions
    layers, heads, tokens, _ = attention.shape
    token = 1 + look.middle  # the one that looks, until the visitor chooses another
    layer, head = chosen(look, token)
    width = look.config.hidden_size // heads
    attended = maths.attend(look.model.vit.layers[layer], trace.hidden_states[layer])
    sent = queries(attended)
    key = 1 + attention[layer, head, token, 1:].argmax().item()
    weight = maths.pair(attended, head, token, key).weight.item()
    everything = attention.numel() <= SENT_WHOLE
    distances = maths.mean_distance(attention, trace.grid, look.patch)
    uniform = maths.patch_distances(trace.grid, look.patch).mean().item()  # of a head that looks everywhere alike
    story = (
        "In “the river bank”, the word <em>bank</em> looks at <em>river</em> and knows that no money is meant; patches do "
        f"the same. {heads_are(layers, heads)} makes of every token a query, what it asks, a key, what it answers to, and a value, what it gives. "
        f"Softmax turns the dot products of a query with all {mono(tokens)} keys into weights that sum to 1, and the token takes that mix of the values. "
        f"Of all patches, {live('who', kind='w')} looks most at {live('target', kind='w')}: with {live('most', kind='')} of its "
        f"attention in layer {live('layer', kind='')}, head {live('head', kind='')}. {live('rest', kind='w')}")
    equation = (
        f"q({live('asks', kind='')})·k({live('asked', kind='')}) = {live('dot')} &nbsp; ÷ √{width} = {live('score')} &nbsp; softmax over {tokens} tokens → {live('weight')}<br>"
        f"out = {live('mix', kind='')}")
    body = f"""
layer, head, token, key = {layer}, {head}, {token}, {key}  # counted from 0; token 0 is CLS
with torch.no_grad():
    attentions = model(pixels, output_attentions=True).attentions
answer = attentions[layer][0, head, token, key].item()
"""
    return {
        "story": story, "view": "attention", "equation": equation,
        "attempt": "point at other patches, or tap them. Then choose a head in the last layer: does it still look near itself?",
        "also": [plane_check(look, layer, head, sent["explained"][head])],
        "data": {
            **look.shown, "layers": layers, "heads": heads, "layer": layer, "head": head, "width": width,
            "all": pack(attention, "u16") if everything else None,
            "token": token, "row": None if everything else pack(attention[:, :, token], "u16"),
            "one": None if everything else pack(attention[layer], "u16"),
            **sent, "distances": [[None if math.isnan(far) else far for far in heads] for heads in distances.tolist()], "uniform": uniform,
        },
        "check": {"code": snippet(look, body), "value": weight,
                  "says": f"The weight that patch {token - 1} gives to patch {key - 1} in layer {layer + 1}, head {head + 1}: {percent(weight)}."},
    }


def heads_are(layers: int, heads: int) -> str:
    """What a layer and a head are, counted."""
    of = "the model's one layer" if layers == 1 else f"each of the {mono(layers)} layers"
    return f"In {of} there is one head; it" if heads == 1 else f"In {of} work {mono(heads)} heads side by side. Each"


def chosen(look: Look, token: int) -> tuple[int, int]:
    """The visitor's layer and head; where they have chosen neither, those that show most."""
    layers, heads = look.trace.attentions.shape[:2]
    if look.layer is None and look.head is None:
        return maths.sharpest(look.trace.attentions, token)
    return min(look.layer or 0, layers - 1), min(look.head or 0, heads - 1)


def queries(attended) -> dict:
    """Queries, keys and values (H,T,d) of one layer's attention, and the places (H,2,T,2) of the first two in each head's plane."""
    planes = [maths.query_key_map(query, key) for query, key in zip(attended.query, attended.key, strict=True)]
    return {"query": pack(attended.query, "u16"), "key": pack(attended.key, "u16"), "value": pack(attended.value, "u16"),
            "places": pack(torch.stack([torch.stack(plane[:2]) for plane in planes]), "u16"),
            "explained": [plane.explained.sum().item() for plane in planes]}


def plane_check(look: Look, layer: int, head: int, share: float) -> dict:
    """How to find the share of variance that a head's plane shows."""
    width = look.config.hidden_size // look.config.num_attention_heads
    body = f"""
layer, head, width = {layer}, {head}, {width}  # counted from 0
with torch.no_grad():
    hidden = model(pixels, output_hidden_states=True).hidden_states[layer][0]
    block = model.vit.layers[layer]
    tokens = block.layernorm_before(hidden)
    query = block.attention.q_proj(tokens)[:, head * width:(head + 1) * width]
    key = block.attention.k_proj(tokens)[:, head * width:(head + 1) * width]
least = torch.finfo(torch.float32).eps * max(query.norm(), key.norm()) + 1e-38  # what is narrower is one point, rounded
query, key = query - query.mean(0), key - key.mean(0)
balance = (key.norm().clamp(min=least) / query.norm().clamp(min=least)).sqrt()  # both clouds as wide as each other; no q·k changes
strength = torch.linalg.svdvals(torch.cat([query * balance, key / balance])) ** 2
answer = (strength[:2].sum() / strength.sum().clamp(min=1e-38)).item()
"""
    return {"code": snippet(look, body), "value": share,
            "says": f"The share of variance that the plane of queries and keys shows, layer {layer + 1}, head {head + 1}: {percent(share)}."}


def answer(look: Look, question: dict) -> Iterator[dict]:
    """Attention rolled out; or another layer's queries and keys, of a large model its weights and one token's row in all heads."""
    attention = look.trace.attentions
    if question["what"] == "rollout":
        rolled = maths.rollout(attention, question.get("fusion", "mean"), question.get("discard", 0))[0]
        yield {"values": pack(rolled[1:]), "patches": rolled[1:].sum().item()}
        return
    layer, token = question.get("layer", 0), question.get("token", 0)
    reply = {"layer": layer, "token": token, **queries(maths.attend(look.model.vit.layers[layer], look.trace.hidden_states[layer]))}
    if attention.numel() > SENT_WHOLE:
        reply |= {"one": pack(attention[layer], "u16"), "row": pack(attention[:, :, token], "u16")}
    yield reply
