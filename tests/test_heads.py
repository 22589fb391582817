from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, outputs, pixels, residual_stream
from vit_demo.errors import Stopped
from vit_demo.explain import heads
from vit_demo.explain.heads import logits_without, logits_without_each, probability_changes
from vit_demo.explain.tokens import classify


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


@pytest.mark.parametrize("name", SHAPES)
def test_heads_tried_in_several_batches_are_those_tried_together(name, monkeypatch):
    together = logits_without_each(model(name), residual_stream(name))
    monkeypatch.setattr(heads, "BATCH", 2)
    assert_close(logits_without_each(model(name), residual_stream(name)), together, atol=1e-4, rtol=0)


def test_a_stop_is_heard_after_every_batch(monkeypatch):
    batches = []
    monkeypatch.setattr(heads, "classify", lambda model, hidden, first_layer: batches.append(len(hidden)) or classify(model, hidden, first_layer=first_layer))
    monkeypatch.setattr(heads, "BATCH", 2)

    def progress(done, total):
        if done == 5:  # of three heads a layer
            raise Stopped

    with pytest.raises(Stopped):
        logits_without_each(model("32/4"), residual_stream("32/4"), progress)
    assert batches == [2, 1, 2]


def test_changes_are_of_probabilities_and_progress_counts_heads():
    seen = []
    each = logits_without_each(model("32/4"), residual_stream("32/4"), lambda done, total: seen.append((done, total)))
    assert seen == [(3, 9), (6, 9), (9, 9)]
    before = outputs("32/4").logits[0]
    change = probability_changes(before, each, 4)
    assert change.shape == (3, 3)
    assert_close(change[2, 1], each[2, 1].softmax(0)[4] - before.softmax(0)[4])
    assert_close(probability_changes(before, before, 4), torch.tensor(0.0))
