from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, outputs, pixels
from vit_demo.explain.attention import rollout
from vit_demo.explain.patches import patchify
from vit_demo.explain.relevance import (
    attention_map, cdam_map, chefer_map, gradcam_map, integrated_gradients, integrated_patches, rollout_map, target,
)


def integrated_map(*given):
    return integrated_patches(*given).patches


BY_GRADIENT = [chefer_map, gradcam_map, cdam_map, integrated_map]
SIGNED = [gradcam_map, cdam_map, integrated_map]


def test_a_target_picks_a_logit_or_a_difference():
    logits = outputs("32/4").logits[0]
    assert_close(logits @ target(model("32/4"), 3), logits[3])
    assert_close(logits @ target(model("32/4"), 3, 5), logits[3] - logits[5])


@pytest.mark.parametrize("name", SHAPES)
def test_maps_of_attention_are_its_cls_rows(name):
    attentions, wanted = outputs(name).attentions, target(model(name), 0)
    assert_close(attention_map(model(name), pixels(name), wanted), attentions[-1][0].mean(0)[0, 1:])
    assert_close(rollout_map(model(name), pixels(name), wanted), rollout(torch.cat(attentions))[0, 1:])


def test_a_model_that_returns_no_attention_is_refused():
    for method in (attention_map, rollout_map, chefer_map):
        with pytest.raises(ValueError, match="attn_implementation='eager'"):
            method(model("32/4", "sdpa"), pixels("32/4"), target(model("32/4"), 0))


@pytest.mark.parametrize("name", SHAPES)
def test_chefer_is_the_published_rule(name):
    """Each layer's R = R + mean over heads of (gradient x attention)+ @ R, written out with loops."""
    result = model(name)(pixels(name).clone().requires_grad_(), output_attentions=True)
    for attention in result.attentions:
        attention.retain_grad()
    result.logits[0, 1].backward()
    relevance = torch.eye(result.attentions[0].shape[-1])
    for attention in result.attentions:
        heads = [(g * a).clamp(min=0) for g, a in zip(attention.grad[0], attention[0].detach(), strict=True)]
        relevance = relevance + torch.stack(heads).mean(0) @ relevance
    found = chefer_map(model(name), pixels(name), target(model(name), 1))
    assert_close(found, relevance[0, 1:], atol=1e-5, rtol=1e-4)
    assert (found >= 0).all()


@pytest.mark.parametrize("name", SHAPES)
def test_cdam_is_token_times_slope_and_gradcam_token_times_mean_slope(name):
    """The slopes at the last layer's normalised tokens, by finite differences in double precision."""
    vit = deepcopy(model(name, "sdpa")).double()
    picture, wanted, patch, step = pixels(name).double(), target(vit, 2, 0), 5, 1e-5
    with torch.no_grad():
        hidden = vit(picture, output_hidden_states=True).hidden_states[-2]
        last = vit.vit.layers[-1]
        tokens = last.layernorm_before(hidden)

        def score(tokens):
            after = hidden + last.attention(tokens, None)[0]
            after = after + last.mlp(last.layernorm_after(after))
            return vit.classifier(vit.vit.layernorm(after[:, 0])) @ wanted

        def slopes(chosen):
            """What each channel of the chosen tokens does when they move together: (D,)"""
            nudge = torch.zeros(48, *tokens.shape[1:], dtype=torch.double)
            nudge[:, chosen] = step * torch.eye(48, dtype=torch.double)[:, None]
            return (score(tokens + nudge) - score(tokens - nudge)) / (2 * step)

        of_patch, mean = slopes([1 + patch]), slopes(range(1, tokens.shape[1])) / (tokens.shape[1] - 1)
    assert_close(cdam_map(vit, picture, wanted)[patch], tokens[0, 1 + patch] @ of_patch, atol=1e-6, rtol=1e-5)
    assert_close(gradcam_map(vit, picture, wanted), tokens[0, 1:] @ mean, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_integrated_gradients_add_up_to_the_change(name):
    wanted = target(model(name), 1)
    found = integrated_gradients(model(name), pixels(name), wanted, steps=48, batch=8)
    with torch.no_grad():
        change = (outputs(name).logits[0] - model(name)(torch.zeros_like(pixels(name))).logits[0])[1]
    assert_close(found.change, change.item(), atol=1e-4, rtol=0)
    assert abs(found.gap) < 0.02 * max(1, abs(found.change))
    assert_close(found.pixels.sum().item() - found.change, found.gap, atol=1e-4, rtol=0)
    by_patch = patchify(found.pixels, model(name).config.patch_size).sum(dim=(1, 2, 3))
    assert_close(found.patches, by_patch, atol=1e-4, rtol=1e-4)


def test_integrated_gradients_of_no_difference_are_nothing():
    found = integrated_gradients(model("32/4"), pixels("32/4"), target(model("32/4"), 1), baseline=pixels("32/4"))
    assert found.pixels.abs().max() == 0 and abs(found.change) < 1e-5


@pytest.mark.parametrize("method", SIGNED)
def test_why_this_and_not_that_is_the_difference_of_the_two_maps(method):
    vit, picture = model("32/4"), pixels("32/4")
    this, that = (method(vit, picture, target(vit, k)) for k in (3, 5))
    assert_close(method(vit, picture, target(vit, 3, 5)), this - that, atol=1e-4, rtol=1e-3)
    assert_close(method(vit, picture, target(vit, 5, 3)), that - this, atol=1e-4, rtol=1e-3)
    assert (this - that).min() < 0 < (this - that).max()


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_a_callers_no_grad_and_pixels_are_left_alone(method):
    picture = pixels("32/4").clone()
    with torch.no_grad():
        found = method(model("32/4"), picture, target(model("32/4"), 3))
        assert not torch.is_grad_enabled()
    assert not found.requires_grad and not picture.requires_grad and torch.equal(picture, pixels("32/4"))
    assert found.shape == (64,) and found.isfinite().all()
