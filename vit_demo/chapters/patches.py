"""Chapter 2: the picture is cut up, and why not into single pixels."""

import time
from collections.abc import Iterator

import torch
from transformers import ViTConfig, ViTForImageClassification

from vit_demo.chapters.scene import Look, live, mono, percent, pixels, sizes, snippet, whole
from vit_demo.errors import UserError
from vit_demo.explain import cost

NAME = "patches"
TITLE = "How does a picture become a sentence?"
MOST_TOKENS = 1025  # the largest run that is really timed
MOST_WEIGHTS = 30e6  # of the projection of a model that is timed: a patch as large as the picture may need a billion


def station(classifier) -> str:
    _, (rows, cols), patch = sizes(classifier)
    return f"{rows * cols} of {patch}×{patch}"


def scene(look: Look) -> dict:
    rows, cols = look.trace.grid
    count, patch, (height, width) = rows * cols, look.patch, look.size
    story = (
        "A transformer reads a row of words, all at once. To give it a picture, the picture is cut into squares of "
        f"{mono(f'{patch} × {patch}')} pixels: {mono(f'{rows} × {cols} = {count}')} patches, read like text from the top "
        f"left and counted from 0, each laid out as one row of {mono(f'{patch} × {patch} × 3 = {3 * patch * patch}')} numbers. "
        f"Each becomes a token, what a word is to a sentence. One more comes in front (chapter 4), which makes {mono(count + 1)}, and attention "
        f"(chapter 5) compares every token with every token: {mono(f'{count + 1}² = {whole(cost.token_pairs(count + 1))}')} pairs. Were each pixel a token, it would be "
        f"{mono(whole(cost.token_pairs(height * width + 1)))}.")
    middle = look.middle
    row, column = divmod(middle, cols)
    body = f"""
row, column, size = {row}, {column}, {patch}
patch = pixels[0, :, row * size:(row + 1) * size, column * size:(column + 1) * size]
answer = patch.flatten()[0].item()  # its first number: red, top left
"""
    others = other_sizes(look)
    near = min((size for size in others if size != patch), key=lambda size: abs(size - patch / 2), default=None)
    return {
        "story": story, "view": "patches",
        "equation": f"patch {live('patch')} = rows {live('rows')} , columns {live('columns')} &nbsp;→&nbsp; "
                    f"x = [{live('first', kind='')}, … ] &nbsp; {3 * patch * patch} numbers",
        "attempt": price(look.config, near, count + 1) + (" Then measure: does the time grow as the pairs do?" if timed_sizes(look) else "") if near else
                   "walk over the picture with the arrow keys, and watch the row of numbers. Which patches are nearly flat?",
        "data": {
            **pixels(look), "sizes": [size_row(look.config, size) for size in others], "timed": bool(timed_sizes(look)),
        },
        "check": {"code": snippet(look, body), "value": look.trace.patches[middle].flatten()[0].item(),
                  "says": f"The first of the {3 * patch * patch} numbers of patch {middle}."},
    }


def price(config, size: int, tokens: int) -> str:
    """What other patches would cost, beside so many tokens."""
    other = cost.patch_count(config.image_size, size) + 1
    return (f"choose patches of {size} px with the slider: {whole(other)} tokens instead of {whole(tokens)}, so, as pairs go with the "
            f"square of the tokens, {whole(cost.token_pairs(other))} instead of {whole(cost.token_pairs(tokens))}.")


def other_sizes(look: Look) -> list[int]:
    """Patch sides that divide a square picture, the whole of it first, the finest ones and those that can be drawn."""
    side, width = look.size
    if side != width:
        return []
    return [size for size in range(side, 0, -1) if side % size == 0 and (side // size <= 64 or size in (1, 2))]


def timed_sizes(look: Look) -> list[int]:
    """Those whose model is small enough to be built; none where even the first of them makes too many tokens to be run."""
    light = [size for size in other_sizes(look) if 3 * size * size * look.config.hidden_size <= MOST_WEIGHTS]
    return light if light and cost.patch_count(look.config.image_size, light[0]) < MOST_TOKENS else []


def size_row(config, size: int) -> dict:
    tokens = cost.patch_count(config.image_size, size) + 1
    return {"patch": size, "tokens": tokens, "pairs": cost.token_pairs(tokens),
            "share": percent(attention_share(config, size))}


def attention_share(config, size: int) -> float:
    """Of all operations of a forward, the part that comparing tokens and mixing their values takes."""
    operations = cost.flops(config, patch_size=size)
    return operations.attention / operations.total


def answer(look: Look, question: dict) -> Iterator[dict]:
    """Time a model of this width and depth, with random weights, at each patch size: fewest tokens first."""
    config, plan, done = look.config, timed_sizes(look), []
    if not plan and other_sizes(look):
        raise UserError(f"no patch size of this model can be timed: that may make at most {whole(MOST_TOKENS)} tokens, and a projection of "
                        f"{MOST_WEIGHTS / 1e6:.0f} million weights; choose another model")
    yield {"rows": [], "progress": 0}
    for row in cost.timings(config, plan, lambda size: forward(config, size), time.perf_counter, MOST_TOKENS):
        done.append({"patch": row.patch_size, "tokens": row.tokens, "pairs": row.pairs, "seconds": row.seconds, "measured": row.measured})
        yield {"rows": list(done), "progress": len(done) / len(plan)}


def forward(config, size: int):
    """A call that runs one picture through a random model of the loaded shape with another patch size."""
    shape = {name: getattr(config, name) for name in (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size")}
    model = ViTForImageClassification(ViTConfig(**shape, patch_size=size, num_labels=config.num_labels)).eval()
    pixels = torch.zeros(1, 3, config.image_size, config.image_size)

    def call():
        with torch.inference_mode():
            return model(pixels)

    return call
