import pytest
import torch
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, outputs, residual_stream
from vit_demo.explain.attention import attend, mean_distance, output, pair, patch_distances, query_key_map, rollout, sharpest


@pytest.mark.parametrize("name", SHAPES)
def test_weights_and_output_are_the_models_own(name):
    for index, layer in enumerate(model(name).vit.layers):
        hidden = residual_stream(name)[index]
        attended = attend(layer, hidden)
        assert_close(attended.weights, outputs(name).attentions[index][0], atol=1e-5, rtol=0)
        added, weights = layer.attention(layer.layernorm_before(hidden[None]), None)
        assert_close(output(layer, attended.context), added[0], atol=1e-5, rtol=0)
        batched = attend(layer, hidden.expand(2, -1, -1))
        assert_close(batched.weights[1], weights[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_a_pair_is_worked_out_to_the_models_weight(name):
    layer = model(name).vit.layers[1]
    attended = attend(layer, residual_stream(name)[1])
    head, query, key = 1, 0, 7
    told = pair(attended, head, query, key)
    width = 48 // model(name).config.num_attention_heads
    assert_close(told.dot, told.products.sum())
    assert_close(told.dot, told.query @ told.key)
    assert_close(told.scaled, told.dot / width**0.5)
    assert_close(told.scores[key], told.scaled)
    assert_close(told.weights, told.scores.softmax(0))
    assert_close(told.weight, outputs(name).attentions[1][0, head, query, key], atol=1e-5, rtol=0)
    assert_close(told.mixed, sum(w * v for w, v in zip(told.weights, attended.value[head], strict=True)), atol=1e-5, rtol=0)
    assert torch.equal(told.value, attended.value[head, key])


def test_two_wide_heads_lose_nothing_on_the_map():
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(9, 2, generator=generator) + 3
    key = query.roll(1, dims=0).flip(1) - 7  # as wide a cloud, elsewhere
    places = query_key_map(query, key)
    assert_close(torch.cdist(places.query, places.key), torch.cdist(query, key - key.mean(0) + query.mean(0)), atol=1e-4, rtol=1e-4)
    assert_close(places.explained.sum(), torch.tensor(1.0))


def test_what_softmax_cannot_notice_the_map_does_not_show():
    attended = attend(model("32/4").vit.layers[0], residual_stream("32/4")[0])
    query, key = attended.query[0], attended.key[0]
    places = query_key_map(query, key)
    again = query_key_map(query * 3, key / 3 + 5)
    assert places.query.shape == places.key.shape == (65, 2)
    assert_close(torch.cat(places[:2]).abs(), torch.cat(again[:2]).abs(), atol=1e-3, rtol=1e-3)


def test_tokens_that_all_ask_the_same_lie_on_one_point():
    key = attend(model("32/4").vit.layers[0], residual_stream("32/4")[0]).key[0]
    for scale in (1e-3, 1, 1e6):
        for same in (torch.zeros(1, 16), torch.randn(1, 16, generator=torch.Generator().manual_seed(0))):
            places = query_key_map(same.expand(65, 16) * scale, key * scale)
            assert torch.pdist(places.key).min() > 0  # the keys still lie apart
            assert torch.cdist(places.query, places.query).max() < 0.1 * torch.cdist(places.key, places.key).max()
            assert 0 < places.explained.sum() <= 1.0001
    still = query_key_map(torch.zeros(65, 16), torch.zeros(65, 16))
    assert not still.query.any() and not still.key.any() and not still.explained.any()


def test_the_map_says_how_much_it_leaves_out():
    attended = attend(model("32/4").vit.layers[1], residual_stream("32/4")[1])
    query, key = attended.query[2], attended.key[2]
    shown = query_key_map(query, key)
    query, key = query - query.mean(0), key - key.mean(0)
    balance = (key.norm() / query.norm()).sqrt()
    both, places = torch.cat([query * balance, key / balance]), torch.cat([shown.query, shown.key])
    assert_close(shown.explained.sum(), places.square().sum() / both.square().sum(), atol=1e-5, rtol=0)
    assert 0 < shown.explained[1] <= shown.explained[0] < 1


def test_the_sharpest_head_is_the_one_that_gives_most_to_one_other_patch():
    attention = torch.full((2, 3, 5, 5), 0.2)
    attention[0, 1, 2] = torch.tensor([0.9, 0.0, 0.1, 0.0, 0.0])  # to CLS
    attention[0, 2, 2] = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])  # to itself
    attention[1, 0, 2] = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.6])
    attention[1, 2, 3] = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])  # of another patch
    assert sharpest(attention, 2) == (1, 0) and sharpest(attention, 3) == (1, 2)


def test_distances_are_in_pixels():
    distances = patch_distances((2, 3), 16)
    assert_close(distances[0], torch.tensor([0, 16, 32, 16, 16 * 2**0.5, 16 * 5**0.5]))
    assert torch.equal(distances, distances.T)


def test_mean_distance_of_looking_at_oneself_everywhere_and_one_step_aside():
    grid, tokens = (3, 4), 13
    itself = torch.eye(tokens)
    everywhere = torch.full((tokens, tokens), 1 / tokens)
    aside = torch.zeros(tokens, tokens)
    for patch in range(12):
        aside[1 + patch, 1 + (patch + 1 if patch % 4 < 3 else patch - 1)] = 0.25
        aside[1 + patch, 0] = 0.75  # attention to CLS has no distance and must not shorten the rest
    found = mean_distance(torch.stack([itself, everywhere, aside])[None], grid, 8)
    assert found.shape == (1, 3)
    assert_close(found[0], torch.stack([torch.tensor(0.0), patch_distances(grid, 8).mean(), torch.tensor(8.0)]))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard", [0.0, 0.3, 0.9, 1.0])
def test_rollout_rows_sum_to_1(name, fusion, discard):
    rolled = rollout(torch.cat(outputs(name).attentions), fusion, discard)
    assert_close(rolled.sum(-1), torch.ones(len(rolled)), atol=1e-5, rtol=0)
    assert (rolled >= 0).all()


def test_rollout_worked_by_hand():
    first = torch.tensor([[[0.5, 0.5], [0.0, 1.0]], [[0.9, 0.1], [0.4, 0.6]]])
    second = torch.tensor([[[0.2, 0.8], [1.0, 0.0]], [[0.6, 0.4], [0.0, 1.0]]])
    both = torch.stack([first, second])
    step = [(fused + torch.eye(2)) / 2 for fused in both.mean(dim=1)]
    assert_close(rollout(both), step[1] @ step[0])
    most = first.amax(dim=0) + torch.eye(2)
    assert_close(rollout(both[:1], "max"), most / most.sum(-1, keepdim=True))
    cut = torch.tensor([[0.7, 0.3], [0.0, 0.8]]) + torch.eye(2)  # the weakest of four mean weights, 0.2, is gone
    assert_close(rollout(both[:1], discard=0.25), cut / cut.sum(-1, keepdim=True))
    assert_close(rollout(both, discard=1.0), torch.eye(2))


@pytest.mark.parametrize("discard", [0.1, 0.5, 0.9])
def test_the_weakest_weights_are_discarded_as_vit_explain_does(discard):
    """Entry by entry, from the weakest on; the first of all, what CLS gives itself, is spared there. Here it is the weakest."""
    attention = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(0)) + 0.1
    attention[:, :, 0, 0] = 0.05
    attention = attention / attention.sum(-1, keepdim=True)
    expected = torch.eye(6)
    for fused in attention.mean(dim=1):
        entries = fused.flatten().tolist()
        for index in sorted(range(36), key=entries.__getitem__)[: int(36 * discard)]:
            if index != 0:
                entries[index] = 0.0
        mixed = torch.tensor(entries).reshape(6, 6) + torch.eye(6)
        expected = mixed / mixed.sum(-1, keepdim=True) @ expected
    assert_close(rollout(attention, discard=discard), expected)


def test_rollout_refuses_what_it_does_not_know():
    attention = torch.full((1, 1, 2, 2), 0.5)
    with pytest.raises(ValueError, match="mean, max, min"):
        rollout(attention, "median")
    with pytest.raises(ValueError, match="from 0 to 1"):
        rollout(attention, discard=1.5)


def test_a_patch_that_gives_all_its_weight_to_cls_looks_nowhere():
    attention = torch.full((2, 2, 5, 5), 0.2)
    attention[0, 1] = torch.tensor([1.0, 0, 0, 0, 0])
    attention[1, 0, 2] = torch.tensor([1.0, 0, 0, 0, 0])
    distances = mean_distance(attention, (2, 2), 8)
    alike = patch_distances((2, 2), 8).mean()
    assert distances[0, 1].isnan() and not distances[0, 0].isnan()
    assert_close(distances[[0, 1, 1], [0, 0, 1]], alike.expand(3))  # one patch less in the mean changes nothing where all look everywhere


def test_one_number_a_query_is_drawn_on_a_line():
    query, key = torch.tensor([[0.0], [1], [2]]), torch.tensor([[1.0], [0], [5]])
    places = query_key_map(query, key)
    assert places.query.shape == places.key.shape == (3, 2) and not places.query[:, 1].any()
    assert_close(torch.cdist(places.query, places.key), torch.cdist(*(cloud[:, :1] for cloud in places[:2])))
    assert_close(places.explained, torch.tensor([1.0, 0]))
