"""Inside one layer, and who wrote the logit: the second half of chapter 6."""

from vit_demo.chapters.scene import Look, many, number, snippet, whole
from vit_demo.draw import pack
from vit_demo.explain import lens
from vit_demo.explain.block import Steps, steps

ACTIVATIONS = {"gelu": "GELU", "relu": "ReLU", "silu": "SiLU"}  # any other is called as in the config


def inside(look: Look, layer: int, token: int) -> dict:
    """A token (0 is CLS) on its way through a layer (from 1): what there is of it at each step, and what that says."""
    config = look.config
    made = steps(look.model.vit.layers[layer - 1], look.trace.hidden_states[layer - 1], token)
    heads = f"{config.num_attention_heads} heads joined" if config.num_attention_heads > 1 else "its one head"
    named = (
        ("stream", "what comes in", made.entering), ("branch", "LayerNorm", made.normed),
        ("added", f"attention: {heads}, mixed", made.attention), ("stream", "between = in + attention", made.between),
        ("branch", "LayerNorm", made.normed_between),
        ("branch", f"MLP: {whole(config.intermediate_size)} hidden, after {activation(look)}", made.hidden),
        ("added", f"MLP: back to {whole(config.hidden_size)}", made.mlp), ("stream", "out = between + MLP", made.leaving))
    return {"layer": layer, "token": token, "activation": activation(look), "says": lengths(made) + hidden(made, activation(look)),
            "strips": [{"kind": kind, "name": name, "values": pack(values), "length": values.norm().item()} for kind, name, values in named]}


def activation(look: Look) -> str:
    return ACTIVATIONS.get(look.config.hidden_act, look.config.hidden_act)


def lengths(made: Steps) -> str:
    """How much was written, beside what was there."""
    there, attention, between, mlp = (number(values.norm().item()) for values in (made.entering, made.attention, made.between, made.mlp))
    return (f"Attention adds a vector of length {attention} to what was there, {there} long; the MLP adds one of {mlp} to what is there by "
            f"then, {between} long. ")


def hidden(made: Steps, name: str) -> str:
    """How many of the MLP's hidden numbers are off."""
    count, off = made.hidden.numel(), (made.hidden <= 0).sum().item()
    least = made.hidden.min().clamp(max=0).item()
    where = f"between {number(least)} and 0" if least <= -0.005 else f"at {number(least)}"
    return f"Of the MLP's {many(whole(count), 'hidden number')}, {name} leaves {whole(count - off)} on, above 0, and {whole(off)} off or nearly so, {where}."


def inside_check(look: Look, layer: int, token: int, written: float) -> dict:
    """How to find the length of what attention writes into the token. web/view-block.js says the same of what is chosen later."""
    body = f"""
layer, token = {layer}, {token}  # the first layer is 1; token 0 is CLS
block = model.vit.layers[layer - 1]
with torch.no_grad():
    hidden = model(pixels, output_hidden_states=True).hidden_states[layer - 1]  # what comes into it
    written = block.attention(block.layernorm_before(hidden), None)[0]
answer = written[0, token].norm().item()
"""
    who = f"patch {token - 1}" if token else "CLS"
    return {"code": snippet(look, body), "value": written,
            "says": f"The length of what attention adds to {who} in layer {layer}: {number(written)}."}


def written(look: Look, added: lens.Contributions) -> dict:
    """The best class's logit as a sum over all that wrote into the class token."""
    best = look.ranked[0]
    parts = lens.logit_parts(look.model, look.trace.hidden_states, added)
    attention, mlp = parts.attention[:, best].tolist(), parts.mlp[:, best].tolist()
    embedding, bias, logit = (values[best].item() for values in (parts.embedding, parts.constant, look.trace.logits))
    by_name = {"the embedding": embedding, "the biases": bias, **{f"{what} of layer {layer}": value for what, values in (("attention", attention), ("the MLP", mlp))
                                                                 for layer, value in enumerate(values, 1)}}
    most = max(by_name, key=lambda name: abs(by_name[name]))
    says = ("The logit of a class, its score before softmax, is a weighted sum of the class token's numbers at the end, and those are the sum of all that was written into them: so it "
            "comes apart into what each writer gave. The last LayerNorm divides by the spread of those numbers; that is taken as it was on this "
            f"picture. Then the parts sum exactly to the logit, {number(logit)}. The strongest, {number(by_name[most])}, is from {most}"
            f"{', and speaks against the class' if by_name[most] < 0 else ''}.")
    return {"says": says, "embedding": embedding, "attention": attention, "MLP": mlp, "bias": bias, "logit": logit}


def written_check(look: Look, value: float) -> dict:
    """How to find what the last layer's MLP gave to the logit."""
    best, layer = look.ranked[0], look.config.num_hidden_layers
    body = f"""
block, norm = model.vit.layers[{layer - 1}], model.vit.layernorm
with torch.no_grad():
    hidden = model(pixels, output_hidden_states=True).hidden_states
    between = hidden[-2] + block.attention(block.layernorm_before(hidden[-2]), None)[0]
    written = block.mlp(block.layernorm_after(between))[0, 0]  # into CLS
    spread = (hidden[-1][0, 0].var(correction=0) + norm.eps).sqrt()  # by which the last LayerNorm divides
    part = (written - written.mean()) / spread * norm.weight
    answer = (part @ model.classifier.weight[{best}]).item()
"""
    return {"code": snippet(look, body), "value": value,
            "says": f"What the MLP of layer {layer} wrote of the logit of {look.classifier.labels[best]}: {number(value)}."}
