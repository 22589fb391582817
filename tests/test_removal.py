from itertools import combinations
from math import comb

import pytest
import torch
from torch.testing import assert_close
from transformers import ViTConfig

from tests.explain_models import SHAPES, model, outputs, pixels, random_vit
from vit_demo.explain.relevance import target
from vit_demo.explain.removal import draws_for, occlusion_map, shapley_values
from vit_demo.explain.tokens import embed, logits_keeping


def alone_and_whole(name, wanted):
    """What a map of all patches should sum to: the target on all of them minus the target on none."""
    embeddings = embed(model(name), pixels(name))
    count = embeddings.shape[1] - 1
    ends = torch.tensor([[False], [True]]).expand(-1, count)
    none, everything = logits_keeping(model(name), embeddings, ends) @ wanted
    return everything - none


@pytest.mark.parametrize("name", SHAPES)
def test_occlusion_is_the_fall_when_one_patch_hides(name):
    wanted = target(model(name), 0, 1)
    found = occlusion_map(model(name), pixels(name), wanted)
    patch = 9
    visible = torch.ones(1, len(found) + 1, dtype=torch.long)
    visible[0, 1 + patch] = 0
    with torch.no_grad():
        without = model(name)(pixels(name), attention_mask=visible).logits[0] @ wanted
    assert_close(found[patch], outputs(name).logits[0] @ wanted - without, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_shapley_values_add_up_to_the_change(name):
    wanted = target(model(name), 1)
    found = shapley_values(model(name), pixels(name), wanted, draws=64).patches
    assert_close(found.sum(), alone_and_whole(name, wanted), atol=1e-3, rtol=1e-3)
    assert torch.equal(found, shapley_values(model(name), pixels(name), wanted, draws=64).patches)
    assert not torch.equal(found, shapley_values(model(name), pixels(name), wanted, draws=64, seed=1).patches)


def test_shapley_values_are_those_of_all_orders():
    """2 x 3 patches: few enough to try every set of them."""
    vit = random_vit(image_size=[8, 12], patch_size=4, num_hidden_layers=2, num_attention_heads=2, num_labels=3)
    picture = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    wanted = target(vit, 2)
    sets = [frozenset(chosen) for size in range(7) for chosen in combinations(range(6), size)]
    keep = torch.tensor([[patch in chosen for patch in range(6)] for chosen in sets])
    value = dict(zip(sets, (logits_keeping(vit, embed(vit, picture), keep) @ wanted).tolist(), strict=True))
    exact = torch.tensor([
        sum((value[s | {p}] - value[s]) / (6 * comb(5, len(s))) for s in sets if p not in s) for p in range(6)])
    found = shapley_values(vit, picture, wanted, draws=8192, batch=512).patches
    assert_close(found, exact, atol=0.01 * exact.abs().max().item(), rtol=0)


def test_progress_reaches_the_end():
    seen = []
    shapley_values(model("32/4"), pixels("32/4"), target(model("32/4"), 1), draws=64, progress=lambda *d: seen.append(d))
    assert seen == [(32, 66), (64, 66), (66, 66)]


def test_one_patch_alone_is_worth_all_the_change():
    one = random_vit(image_size=16, patch_size=16, num_hidden_layers=2, num_attention_heads=2, num_labels=3)
    picture, target = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, -1, 0])
    tokens = one.vit.embeddings(picture)
    nothing, everything = logits_keeping(one, tokens, torch.tensor([[False], [True]])) @ target
    assert_close(everything, one(picture).logits[0] @ target, atol=1e-4, rtol=0)
    assert_close(shapley_values(one, picture, target).patches, (everything - nothing)[None])


def test_an_estimate_of_shapley_values_knows_how_sure_it_is():
    """What it says another estimate would agree to is what other estimates agree to."""
    vit, picture, wanted = model("32/4"), pixels("32/4"), target(model("32/4"), 1)
    for draws, sure in ((128, False), (4096, True)):
        several = [shapley_values(vit, picture, wanted, draws=draws, seed=seed, batch=512) for seed in range(4)]
        agreed = torch.corrcoef(torch.stack([found.patches for found in several]))
        between = agreed[~torch.eye(4, dtype=torch.bool)].mean().item()
        told = sum(found.agreement for found in several) / 4
        assert abs(told - between) < 0.15 and (between > 0.8) == sure
        assert {found.draws for found in several} == {draws}


def test_estimates_that_contradict_each_other_agree_to_nothing():
    agreements = [shapley_values(model("32/4"), pixels("32/4"), target(model("32/4"), 1), draws=4, seed=seed).agreement for seed in range(8)]
    assert min(agreements) == 0 and max(agreements) <= 1


def test_a_target_that_no_patch_moves_has_no_agreement():
    nothing = shapley_values(model("32/4"), pixels("32/4"), torch.zeros_like(target(model("32/4"), 1)), draws=64)
    assert nothing.agreement is None and not nothing.patches.any()


def test_the_larger_a_model_the_fewer_draws_within_bounds():
    assert draws_for(ViTConfig()) == 512  # ViT-B/16 at 224 px
    small = draws_for(ViTConfig(image_size=32, patch_size=4, hidden_size=192, num_hidden_layers=6, num_attention_heads=3, intermediate_size=768, num_labels=10))
    assert 2000 < small <= 4096 and small % 4 == 0
