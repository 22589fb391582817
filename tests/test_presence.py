from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, pixels
from vit_demo.explain.presence import integrated_presence, presence_map
from vit_demo.explain.relevance import target
from vit_demo.explain.tokens import classify, embed, logits_keeping


@pytest.mark.parametrize("name", SHAPES)
def test_values_add_up_to_the_change_from_no_patches_to_all(name):
    wanted = target(model(name), 1)
    found = integrated_presence(model(name), pixels(name), wanted, steps=64, batch=8)
    embeddings = embed(model(name), pixels(name))
    ends = torch.tensor([[False], [True]]).expand(-1, len(found.patches))
    none, everything = (logits_keeping(model(name), embeddings, ends) @ wanted).tolist()
    assert_close(found.change, everything - none, atol=1e-4, rtol=0)
    assert abs(found.gap) < 0.02 * max(1, abs(found.change))
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
    found = presence_map(vit, picture, target(vit, 1))
    assert_close(found[6], found[1], atol=1e-5, rtol=1e-4)


def test_the_difference_of_two_classes_is_the_difference_of_their_maps():
    vit, picture = model("32/4"), pixels("32/4")
    this, that = (presence_map(vit, picture, target(vit, k)) for k in (3, 5))
    assert_close(presence_map(vit, picture, target(vit, 3, 5)), this - that, atol=1e-4, rtol=1e-3)


def test_the_attention_code_does_not_matter_and_progress_reaches_the_end():
    seen = []
    wanted = target(model("32/4"), 2)
    eager = presence_map(model("32/4"), pixels("32/4"), wanted, progress=lambda *done: seen.append(done))
    assert_close(presence_map(model("32/4", "sdpa"), pixels("32/4"), wanted), eager, atol=1e-4, rtol=1e-3)
    assert seen == [(4, 16), (8, 16), (12, 16), (16, 16)]
