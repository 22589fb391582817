import pytest
import torch
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, outputs, pixels
from vit_demo.explain.faithfulness import (
    Curves, bootstrap_interval, curves, logits_removing, overlap, random_map, top_patches,
)
from vit_demo.explain.patches import model_grid, patchify, unpatchify
from vit_demo.explain.tokens import embed


@pytest.mark.parametrize("name", SHAPES)
def test_the_mean_patch_in_the_embeddings_is_the_mean_patch_in_the_picture(name):
    patches = patchify(pixels(name), model(name).config.patch_size)
    keep = torch.rand(3, patches.shape[1], generator=torch.Generator().manual_seed(0)) < 0.6
    painted = torch.where(keep[:, :, None, None, None], patches, patches.mean(dim=1, keepdim=True))
    with torch.no_grad():
        expected = model(name)(unpatchify(painted, model_grid(model(name)))).logits
    assert_close(logits_removing(model(name), embed(model(name), pixels(name)), keep, "mean", batch=2), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("removal", ["drop", "mean"])
def test_curves_run_between_nothing_and_the_whole_picture(name, removal):
    embeddings = embed(model(name), pixels(name))
    maps = torch.stack([random_map(embeddings.shape[1] - 1, seed) for seed in range(2)])
    found = curves(model(name), embeddings, maps, 1, removal=removal, steps=5)
    assert found.insertion.shape == found.deletion.shape == (2, 6)
    assert found.shares[0] == 0 and found.shares[-1] == 1
    whole = outputs(name).logits[0].softmax(-1)[1].expand(2)
    assert_close(found.insertion[:, -1], whole, atol=1e-4, rtol=0)
    assert_close(found.deletion[:, 0], whole, atol=1e-4, rtol=0)
    assert_close(found.insertion[:, 0], found.deletion[:, -1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("removal", ["drop", "mean"])
def test_points_of_a_curve_are_runs_on_those_patches(removal):
    embeddings = embed(model("32/4"), pixels("32/4"))
    ranking = random_map(64)
    found = curves(model("32/4"), embeddings, ranking[None], 1, removal=removal)
    assert len(found.shares) == 65
    assert torch.equal(curves(model("32/4"), embeddings, ranking[None], 1, removal=removal, steps=640).shares, found.shares)  # none twice
    best = top_patches(ranking, 20)
    inserted, deleted = logits_removing(model("32/4"), embeddings, torch.stack([best, ~best]), removal).softmax(-1)[:, 1]
    assert_close(found.insertion[0, 20], inserted, atol=1e-4, rtol=0)
    assert_close(found.deletion[0, 20], deleted, atol=1e-4, rtol=0)


def test_the_opposite_map_swaps_the_curves_and_turns_the_score():
    embeddings, ranking = embed(model("32/4"), pixels("32/4")), random_map(64)
    found = curves(model("32/4"), embeddings, torch.stack([ranking, -ranking]), 1)
    assert_close(found.insertion[1], found.deletion[0].flip(0), atol=1e-4, rtol=0)
    assert_close(found.score[1], -found.score[0], atol=1e-4, rtol=0)


def test_against_another_class_only_these_two_are_possible():
    embeddings, ranking = embed(model("32/4"), pixels("32/4")), random_map(64)
    found = curves(model("32/4"), embeddings, ranking[None], 1, against=6, steps=2)
    logits = outputs("32/4").logits[0]
    assert_close(found.insertion[0, -1], logits[[1, 6]].softmax(0)[0], atol=1e-4, rtol=0)


def test_areas_of_known_curves():
    shares = torch.tensor([0, 0.5, 1.0])
    found = Curves(shares, torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert found.insertion_area.tolist() == [0.75]
    assert found.deletion_area.tolist() == [0.25]
    assert found.score.tolist() == [0.5]


def test_unknown_removal_is_refused():
    with pytest.raises(ValueError, match="drop, mean"):
        logits_removing(model("32/4"), embed(model("32/4"), pixels("32/4")), torch.ones(1, 64, dtype=torch.bool), "grey")


def test_overlap_with_as_many_of_the_maps_best():
    scores = torch.tensor([0.1, 0.9, 0.8, 0.2])
    assert overlap(torch.tensor([False, True, True, False]), scores) == 1
    assert overlap(torch.tensor([True, True, False, False]), scores) == 1 / 3
    assert overlap(torch.tensor([True, False, False, False]), scores) == 0
    assert overlap(torch.zeros(4, dtype=torch.bool), scores) == 0


def test_the_bootstrap_interval_is_that_of_a_mean():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)) * 3 + 5
    low, high = bootstrap_interval(values)
    error = values.std() / 20
    assert_close(low, (values.mean() - 1.96 * error).item(), atol=0.03, rtol=0)
    assert_close(high, (values.mean() + 1.96 * error).item(), atol=0.03, rtol=0)
    assert bootstrap_interval(torch.full((5,), 2.0)) == (2.0, 2.0)
