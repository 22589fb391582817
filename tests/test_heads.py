from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, outputs, pixels, residual_stream
from vit_demo.explain.heads import logits_without, logits_without_each, probability_changes


def with_zeroed_columns(name, switched_off):
    """What a model says whose o_proj has zeros where those (layer, head) come in."""
    vit = deepcopy(model(name))
    for layer, head in switched_off:
        o_proj = vit.vit.layers[layer].attention.o_proj
        width = 48 // vit.config.num_attention_heads
        o_proj.weight.data[:, head * width : (head + 1) * width] = 0
    with torch.no_grad():
        return vit(pixels(name)).logits[0]


@pytest.mark.parametrize("name", SHAPES)
def test_a_head_switched_off_equals_zeroed_columns(name):
    each = logits_without_each(model(name), residual_stream(name))
    config = model(name).config
    assert each.shape == (config.num_hidden_layers, config.num_attention_heads, config.num_labels)
    for layer in range(config.num_hidden_layers):
        for head in range(config.num_attention_heads):
            assert_close(each[layer, head], with_zeroed_columns(name, [(layer, head)]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_any_set_of_heads_may_be_off(name):
    config = model(name).config
    off = torch.zeros(3, config.num_hidden_layers, config.num_attention_heads, dtype=torch.bool)
    off[1, 0, 1] = off[1, 1, 0] = off[2, 1, 1] = True
    logits = logits_without(model(name), outputs(name).hidden_states[0], off)
    assert_close(logits[0], outputs(name).logits[0], atol=1e-4, rtol=0)
    assert_close(logits[1], with_zeroed_columns(name, [(0, 1), (1, 0)]), atol=1e-4, rtol=0)
    assert_close(logits[2], with_zeroed_columns(name, [(1, 1)]), atol=1e-4, rtol=0)


def test_changes_are_of_probabilities_and_progress_counts_layers():
    seen = []
    each = logits_without_each(model("32/4"), residual_stream("32/4"), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    before = outputs("32/4").logits[0]
    change = probability_changes(before, each, 4)
    assert change.shape == (3, 3)
    assert_close(change[2, 1], each[2, 1].softmax(0)[4] - before.softmax(0)[4])
    assert_close(probability_changes(before, before, 4), torch.tensor(0.0))
