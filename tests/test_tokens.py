from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, outputs, pixels, residual_stream
from vit_demo.explain import tokens
from vit_demo.explain.faithfulness import curves
from vit_demo.explain.heads import logits_without_each
from vit_demo.explain.positions import shuffle_curve
from vit_demo.explain.presence import integrated_presence
from vit_demo.explain.relevance import integrated_gradients, target
from vit_demo.explain.removal import occlusion_map, shapley_values
from vit_demo.explain.tokens import classify, drop, embed, logits_keeping


def random_keep(name, rows, share=0.5):
    count = embed(model(name), pixels(name)).shape[1] - 1
    return torch.rand(rows, count, generator=torch.Generator().manual_seed(2)) < share


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_dropped_tokens_equal_a_run_that_hides_them(name, attention):
    vit, keep = model(name, attention), random_keep(name, 9)
    keep[0], keep[1] = True, False
    visible = torch.cat([torch.ones_like(keep[:, :1]), keep], dim=1).long()
    with torch.no_grad():
        hidden = vit(pixels(name).expand(9, -1, -1, -1), attention_mask=visible).logits
    kept = logits_keeping(vit, embed(vit, pixels(name)), keep, batch=4)
    assert_close(kept, hidden, atol=1e-4, rtol=0)
    assert_close(kept[0], outputs(name).logits[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_dropped_patches_have_no_say(name):
    keep = random_keep(name, 1)
    embeddings = embed(model(name), pixels(name))
    other = embeddings.clone()
    other[0, 1:][~keep[0]] = 1e6
    before, after = (logits_keeping(model(name), each, keep) for each in (embeddings, other))
    assert torch.equal(before, after)


@pytest.mark.parametrize("name", SHAPES)
def test_rows_may_be_different_pictures(name):
    both = torch.cat([pixels(name), pixels(name).flip(-1)])
    keep = random_keep(name, 2, share=0.7)
    together = logits_keeping(model(name), embed(model(name), both), keep)
    for row in range(2):
        alone = logits_keeping(model(name), embed(model(name), both[row : row + 1]), keep[row : row + 1])
        assert_close(together[row], alone[0], atol=1e-4, rtol=0)


def test_equal_counts_run_short_and_without_a_mask():
    embeddings = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    keep = torch.tensor([[True, False, True, False], [False, False, True, True]])
    tokens, bias = drop(embeddings, keep)
    assert bias is None
    assert torch.equal(tokens[0], embeddings[0, [0, 1, 3]])
    assert torch.equal(tokens[1], embeddings[1, [0, 3, 4]])
    keep[0, 0] = False
    tokens, bias = drop(embeddings, keep)
    assert torch.equal(tokens[0, :2], embeddings[0, [0, 3]])
    assert bias.tolist() == [[0, 0, float("-inf")], [0, 0, 0]]


@pytest.mark.parametrize("name", SHAPES)
def test_classify_goes_on_from_any_layer(name):
    for layer, hidden in enumerate(outputs(name).hidden_states):
        with torch.no_grad():
            logits = classify(model(name), hidden, first_layer=layer)
        assert_close(logits, outputs(name).logits, atol=1e-5, rtol=0)


def test_progress_counts_every_row_and_may_stop_the_work():
    vit, seen = model("32/4"), []
    embeddings = embed(vit, pixels("32/4"))
    logits_keeping(vit, embeddings, random_keep("32/4", 7), batch=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 7), (6, 7), (7, 7)]

    class Cancelled(Exception):
        pass

    def stop(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        logits_keeping(vit, embeddings, random_keep("32/4", 7), progress=stop)


def test_the_model_is_left_as_it_was():
    vit = deepcopy(model("32/4"))
    before = deepcopy(vit.state_dict())
    logits_keeping(vit, embed(vit, pixels("32/4")), random_keep("32/4", 3))
    assert all(torch.equal(before[key], value) for key, value in vit.state_dict().items())


NAME = "16x24/4"


@pytest.mark.parametrize("work", [
    lambda vit, there: shapley_values(vit, there, target(vit, 1), draws=8).patches,
    lambda vit, there: occlusion_map(vit, there, target(vit, 1)),
    lambda vit, there: integrated_presence(vit, there, target(vit, 1)).patches,
    lambda vit, there: integrated_gradients(vit, there, target(vit, 1), steps=4).patches,
    lambda vit, there: curves(vit, embed(vit, there), torch.arange(24.0)[None], 1, removal="mean").insertion,
    lambda vit, there: logits_without_each(vit, residual_stream(NAME)),
    lambda vit, there: shuffle_curve(vit, vit.vit.embeddings.patch_embeddings(there)[0].detach(), 1, [0.0, 0.5, 1.0]),
], ids=["shapley", "occlusion", "presence", "integrated gradients", "curves", "heads", "jigsaw"])
def test_what_runs_together_fits_into_memory_and_changes_nothing(work, monkeypatch):
    """Whatever a model's heads and tokens: 128 heads of 1,025 tokens have half a gigabyte of scores a picture."""
    vit, there, rows = model(NAME), pixels(NAME), []
    whole = work(vit, there)
    hooks = [layer.register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[:2])) for layer in vit.vit.layers]
    a_layer = 4 * vit.config.num_attention_heads * 25**2
    monkeypatch.setattr(tokens, "SCORES_BYTES", 1.5 * a_layer)
    parts = work(vit, there)
    for hook in hooks:
        hook.remove()
    assert_close(parts, whole, atol=1e-4, rtol=1e-4)
    assert rows and all(count * length**2 <= 1.5 * 25**2 for count, length in rows)
