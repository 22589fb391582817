"""One layer from inside against hooks on the library's own modules; the words of it, and the logit by its writers."""

import re

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, outputs, pixels, random_vit, residual_stream
from tests.models import save_model
from tests.test_draw import unpack
from vit_demo.chapters import block, depth
from vit_demo.chapters.scene import Look, number
from vit_demo.classifier import load
from vit_demo.explain.block import steps
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace

OTHERS = {name: dict(image_size=16, patch_size=4, num_hidden_layers=1, num_attention_heads=1, num_labels=1, qkv_bias=False, hidden_act=name)
          for name in ("relu", "silu", "quick_gelu", "gelu_new")}


def hooked(vit, layer: int, pixel_values):
    """What the modules of a layer take and give in the library's own forward."""
    found, block = {}, vit.vit.layers[layer]
    named = {"before": block.layernorm_before, "attention": block.attention, "after": block.layernorm_after, "hidden": block.mlp.activation_fn, "mlp": block.mlp, "layer": block}

    def keep(name):
        def hook(module, taken, given):
            first = given[0] if isinstance(given, tuple) else given
            found[name], found[f"{name} takes"] = first[0], taken[0][0] if taken else None
        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in named.items()]
    with torch.no_grad():
        vit(pixel_values)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", [*SHAPES, *OTHERS])
def test_every_step_is_what_the_models_own_modules_give(name):
    vit = model(name) if name in SHAPES else random_vit(attn_implementation="eager", **OTHERS[name])
    pixel_values = pixels(name) if name in SHAPES else torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        stream = torch.cat(vit(pixel_values, output_hidden_states=True).hidden_states)
    for layer in range(vit.config.num_hidden_layers):
        found, made = hooked(vit, layer, pixel_values), steps(vit.vit.layers[layer], stream[layer])
        expected = [found["before takes"], found["before"], found["attention"], found["after takes"], found["after"], found["hidden"], found["mlp"], found["layer"]]
        for step, reference in zip(made, expected, strict=True):
            assert_close(step, reference, atol=1e-4, rtol=0)
        assert_close(made.entering + made.attention + made.mlp, stream[layer + 1], atol=1e-4, rtol=0)


def test_one_token_is_a_row_of_all():
    hidden, layer = residual_stream("16x24/4")[1], model("16x24/4").vit.layers[1]
    for one, every in zip(steps(layer, hidden, 3), steps(layer, hidden), strict=True):
        assert one.dim() == 1
        assert_close(one, every[3])
    assert_close(steps(layer, hidden, 0).leaving, outputs("16x24/4").hidden_states[2][0, 0], atol=1e-4, rtol=0)


def looked(folder, sample: int = 0) -> Look:
    classifier = load(folder)
    return Look(classifier, trace(classifier, Image.open(SAMPLES[sample][0])))


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    """3 layers of 3 heads, 64 patches, 10 classes."""
    return looked(save_model(tmp_path_factory.mktemp("block") / "model"))


def test_the_words_tell_what_the_models_own_modules_give(look):
    told, = depth.answer(look, {"what": "block", "layer": 2, "token": 21})
    found = {name: value[21] for name, value in hooked(look.model, 1, look.trace.pixel_values[None]).items()}
    there, attention, between, mlp = (number(found[name].norm().item()) for name in ("before takes", "attention", "after takes", "mlp"))
    on, least = (found["hidden"] > 0).sum().item(), number(found["hidden"].min().item())
    assert told["says"] == (
        f"Attention adds a vector of length {attention} to what was there, {there} long; the MLP adds one of {mlp} to what is there by then, {between} long. "
        f"Of the MLP's 96 hidden numbers, GELU leaves {on} on, above 0, and {96 - on} off or nearly so, between {least} and 0.")
    entering, _, attention, between, _, hidden, mlp, leaving = (unpack(strip["values"]).float() for strip in told["strips"])
    assert_close(entering + attention, between, atol=1e-5, rtol=0)
    assert_close(between + mlp, leaving, atol=1e-5, rtol=0)
    assert_close(leaving, look.trace.hidden_states[2, 21], atol=1e-4, rtol=0)
    assert [strip["length"] for strip in told["strips"]][5] == pytest.approx(hidden.norm().item(), abs=1e-4)


@pytest.mark.parametrize("settings, told", [
    (dict(hidden_act="relu"), r"ReLU leaves \d+ on, above 0, and \d+ off or nearly so, at 0.00\.$"), (dict(hidden_act="silu"), r"SiLU leaves .* between −0.[12]\d and 0\.$"),
    (dict(hidden_act="gelu_pytorch_tanh"), "gelu_pytorch_tanh leaves"), (dict(qkv_bias=False), "GELU leaves")])
def test_an_activation_is_called_by_its_own_name(tmp_path, settings, told):
    scene = block.inside(looked(save_model(tmp_path / "model", **settings)), 1, 0)
    assert re.search(told, scene["says"])
    assert told.split()[0] in scene["strips"][5]["name"] or "bias" in str(settings)


def test_the_class_token_in_the_last_layer_is_meant_where_none_is_named(look):
    told, = depth.answer(look, {"what": "block"})
    assert (told["layer"], told["token"]) == (3, 0)


def test_only_one_token_of_one_layer_is_sent(tmp_path):
    """However many tokens there are."""
    look = looked(save_model(tmp_path / "model", (224, 224), 16))
    data = depth.scene(look)["data"]
    assert [len(unpack(strip["values"])) for strip in data["block"]["strips"]] == [48] * 5 + [96] + [48] * 2
    assert (data["block"]["layer"], data["block"]["token"]) == (2, 0) == (data["after"], 0)


def test_the_logit_is_the_sum_of_what_was_written(look):
    written = depth.scene(look)["data"]["written"]
    parts = [written["embedding"], *written["attention"], *written["MLP"], written["bias"]]
    assert len(parts) == 8 and sum(parts) == pytest.approx(look.trace.logits.max().item(), abs=1e-4) == pytest.approx(written["logit"], abs=1e-4)
    names = ["the embedding", *(f"attention of layer {i}" for i in (1, 2, 3)), *(f"the MLP of layer {i}" for i in (1, 2, 3)), "the biases"]
    largest = max(range(8), key=lambda i: abs(parts[i]))
    against = ", and speaks against the class" if parts[largest] < 0 else ""
    assert written["says"].endswith(f"sum exactly to the logit, {number(written['logit'])}. The strongest, {number(parts[largest])}, is from {names[largest]}{against}.")
