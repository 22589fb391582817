from copy import deepcopy

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, pixels
from vit_demo.classifier import load
from vit_demo.explain import presence
from vit_demo.explain.presence import integrated_presence
from vit_demo.explain.relevance import target
from vit_demo.explain.tokens import classify, embed, logits_keeping
from vit_demo.samples import SAMPLES


@pytest.mark.parametrize("name", SHAPES)
def test_values_add_up_to_the_change_from_no_patches_to_all(name):
    wanted = target(model(name), 1)
    found = integrated_presence(model(name), pixels(name), wanted)
    embeddings = embed(model(name), pixels(name))
    ends = torch.tensor([[False], [True]]).expand(-1, len(found.patches))
    none, everything = (logits_keeping(model(name), embeddings, ends) @ wanted).tolist()
    assert_close(found.change, everything - none, atol=1e-4, rtol=0)
    assert abs(found.gap) <= presence.TOLERANCE * max(abs(found.change), found.patches.abs().max().item())
    assert_close(found.patches.sum().item() - found.change, found.gap, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_a_patch_present_by_whole_numbers_counts_as_often(name):
    """Presence 2 is the patch's token twice, presence 0 no token: what a part of a patch means in between."""
    embeddings = embed(model(name), pixels(name))
    amount = torch.ones(1, embeddings.shape[1])
    amount[0, 3], amount[0, 5] = 2, 0
    tokens = torch.cat([embeddings[:, :5], embeddings[:, 6:], embeddings[:, 3:4]], dim=1)
    with torch.no_grad():
        assert_close(classify(model(name), embeddings, amount.log()), classify(model(name), tokens), atol=1e-4, rtol=0)


def test_a_patch_that_says_what_another_says_gets_as_much():
    """Two patches with the same token are the same player twice."""
    vit, picture = deepcopy(model("32/4")), pixels("32/4").clone()
    vit.vit.embeddings.position_embeddings.data[0, 1 + 6] = vit.vit.embeddings.position_embeddings[0, 1 + 1]
    picture[..., 0:4, 24:28] = picture[..., 0:4, 4:8]
    found = integrated_presence(vit, picture, target(vit, 1)).patches
    assert_close(found[6], found[1], atol=1e-5, rtol=1e-4)


def test_the_difference_of_two_classes_is_the_difference_of_their_maps(monkeypatch):
    monkeypatch.setattr(presence, "MOST_STEPS", presence.STEPS)  # the same for all three
    vit, picture = model("32/4"), pixels("32/4")
    this, that = (integrated_presence(vit, picture, target(vit, k)).patches for k in (3, 5))
    assert_close(integrated_presence(vit, picture, target(vit, 3, 5)).patches, this - that, atol=1e-4, rtol=1e-3)


def test_the_attention_code_does_not_matter_and_progress_reaches_the_end():
    seen = []
    wanted = target(model("32/4"), 2)
    eager = integrated_presence(model("32/4"), pixels("32/4"), wanted, progress=lambda *done: seen.append(done)).patches
    assert_close(integrated_presence(model("32/4", "sdpa"), pixels("32/4"), wanted).patches, eager, atol=1e-4, rtol=1e-3)
    assert seen == [(done, 224) for done in [*range(4, 33, 4), 224]]  # 32, 64 and 128 may be needed


def test_the_bundled_models_shares_sum_to_the_change_and_far_more_steps_move_none_of_them(monkeypatch):
    """Also on the samples that need the most: with 16 steps one's shares summed to half as much again."""
    carried = load()
    for path, *_ in (SAMPLES[0], SAMPLES[4], SAMPLES[19]):
        pixel_values = carried.pixel_values([Image.open(path)])
        wanted = target(carried.viewing, carried.model(pixel_values).logits[0].argmax().item())
        found = integrated_presence(carried.viewing, pixel_values, wanted)
        largest = found.patches.abs().max().item()
        assert abs(found.gap) <= presence.TOLERANCE * max(abs(found.change), largest)
        with torch.no_grad(), monkeypatch.context() as patch:
            patch.setattr(presence, "STEPS", presence.MOST_STEPS)
            exact = integrated_presence(carried.viewing, pixel_values, wanted)
        assert abs(exact.gap) < 1e-3
        assert (found.patches - exact.patches).abs().max().item() < 0.05 * largest
