"""Chapter 3: every patch goes through the same linear layer."""

from vit_demo.chapters.scene import Look, live, mono, number, percent, pixels, snippet
from vit_demo.draw import pack, signed_colours
from vit_demo.explain import embeddings as maths

NAME = "projection"
TITLE = "What does a patch say to the model?"
SENT_WEIGHTS = 65_536  # numbers of the filters that travel; further dimensions are not shown one by one
COMPONENTS = 28
FIRST = 8  # of them, as many as there are, whose share is told
TIDY = 0.07  # of what noise lacks of plain colours and slopes: filters that have less of it are told to look like noise


def station(classifier) -> str:
    config = classifier.model.config
    return f"{3 * config.patch_size ** 2}→{config.hidden_size}"


def scene(look: Look) -> dict:
    weight, bias = maths.projection(look.model)
    width, inputs = len(weight), weight[0].numel()
    shown = max(1, min(width, SENT_WEIGHTS // inputs))
    components = maths.filter_components(weight, COMPONENTS)
    first = components.explained[:FIRST]
    even, chance = maths.evenness(weight)
    chosen = even[:shown].argmax().item()  # the one that is read most easily
    middle = look.middle
    told = maths.projection_sum(look.trace.patches[middle], weight, bias, chosen)
    story = (
        f"The {mono(inputs)} numbers of a patch are turned into {mono(width)} others: one for each learned filter. A filter is "
        "laid over the patch, number on number, multiplied and summed up, and a bias is added: the answer to one question, such "
        f"as “is the top brighter than the bottom?”. All patches go through the same {mono(f'{width} × {inputs}')} weights: "
        f"together that is a convolution of stride {mono(look.patch)}, one stencil moved on by a whole patch at a time. Patch {live('patch', kind='')} answers filter {live('filter', kind='')} with {live('value', kind='')}.")
    body = f"""
row, column, size, filter = {middle // look.trace.grid[1]}, {middle % look.trace.grid[1]}, {look.patch}, {chosen}
x = pixels[0, :, row * size:(row + 1) * size, column * size:(column + 1) * size].flatten()
layer = model.vit.embeddings.patch_embeddings.projection
answer = (layer.weight.flatten(1)[filter] @ x + layer.bias[filter]).item()
"""
    convolution = f"""
row, column, filter = {middle // look.trace.grid[1]}, {middle % look.trace.grid[1]}, {chosen}
layer = model.vit.embeddings.patch_embeddings.projection
answer = torch.nn.functional.conv2d(pixels, layer.weight, layer.bias, stride={look.patch})[0, filter, row, column].item()
"""
    return {
        "story": story, "view": "projection",
        "equation": f"z{live('index', kind='w')} = Σ w·x + b = {live('terms', kind='')} + {live('bias')} = {live('result')}",
        "attempt": "walk through the filters with the slider. " + asked(even.mean().item() >= chance + TIDY * (1 - chance) - 1e-6, width, inputs)
                   + (f" The first {len(first)} components hold {percent(first.sum().item())} of what all {width} filters can tell apart."
                      if len(first) > 1 else ""),
        "data": {
            **pixels(look), "dimensions": width, "shown": shown, "filter": chosen,
            "weight": pack(weight[:shown], "f32"), "bias": pack(bias[:shown], "f32"),
            "tokens": pack(look.trace.patch_embeddings, "u16"),
            "components": pack(signed_pictures(components.filters), "u8"),
            "explained": [percent(share) for share in components.explained.tolist()],
        },
        "check": {"code": snippet(look, body), "value": told.value.item(),
                  "says": f"What patch {middle} answers to filter {chosen}: {number(told.value.item(), 3)}, as Wx + b."},
        "also": [{"code": snippet(look, convolution), "value": look.trace.patch_embeddings[middle, chosen].item(),
                  "says": f"The same number, {number(told.value.item(), 3)}, as one of all those that a convolution gives."}],
    }


def asked(tidy: bool, width: int, inputs: int) -> str:
    """What to look for among the filters, where there is something to be seen."""
    if tidy:
        return "Which ones look for colour, which for edges?"
    return ("Most look like noise: nothing made them tidy. " + (f"It does no harm: however odd the questions, {width} answers still tell "
            f"all {inputs} numbers of a patch. " if width >= inputs else "") + "In the film of chapter 9 you can watch filters form.")


def signed_pictures(filters):
    """(n,3,P,P) weights -> (n,3,P,P) uint8, each at its own full strength."""
    return signed_colours(filters / filters.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12))
