import pytest
import torch
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, outputs, pixels, random_vit
from vit_demo.explain.patches import model_grid, patchify, unpatchify
from vit_demo.explain.positions import interpolated, jigsaw_logits, neighbour_similarity, place_on, position_similarity, seen_from, shuffle_curve, shuffled_order


def patch_embeddings(name):
    return model(name).vit.embeddings.patch_embeddings(pixels(name))[0]


def order(name, share=1.0, seed=0):
    return shuffled_order(len(patch_embeddings(name)), share, seed)


@pytest.mark.parametrize("name", SHAPES)
def test_shuffled_with_their_positions_nothing_changes(name):
    moved = jigsaw_logits(model(name), patch_embeddings(name), order(name), "move")
    assert_close(moved, outputs(name).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_shuffled_under_fixed_positions_is_the_shuffled_picture(name):
    patch_size, shuffle = model(name).config.patch_size, order(name)
    picture = unpatchify(patchify(pixels(name), patch_size)[:, shuffle], model_grid(model(name)))
    with torch.no_grad():
        expected = model(name)(picture).logits
    shuffled = jigsaw_logits(model(name), patch_embeddings(name), shuffle)
    assert_close(shuffled, expected, atol=1e-4, rtol=0)
    assert (shuffled - outputs(name).logits).abs().max() > 0.05


@pytest.mark.parametrize("name", SHAPES)
def test_without_positions_the_order_cannot_matter(name):
    same = torch.arange(len(patch_embeddings(name)))
    straight, shuffled = jigsaw_logits(model(name), patch_embeddings(name), torch.stack([same, order(name)]), "zero")
    assert_close(straight, shuffled, atol=1e-4, rtol=0)
    assert (straight - outputs(name).logits[0]).abs().max() > 0.05


def test_unknown_ways_are_refused():
    with pytest.raises(ValueError, match="stay, move, zero"):
        jigsaw_logits(model("32/4"), patch_embeddings("32/4"), order("32/4"), "fly")


@pytest.mark.parametrize("share, moved", [(0, 0), (0.1, 6), (0.5, 32), (1, 64)])
def test_exactly_that_share_moves(share, moved):
    shuffle = shuffled_order(64, share, seed=3)
    assert torch.equal(shuffle.sort().values, torch.arange(64))
    assert (shuffle != torch.arange(64)).sum() == moved
    assert torch.equal(shuffle, shuffled_order(64, share, seed=3))
    assert moved < 2 or not torch.equal(shuffle, shuffled_order(64, share, seed=4))


def test_the_curve_starts_at_the_untouched_picture_and_repeats():
    shares = [0.0, 0.3, 1.0]
    curve = shuffle_curve(model("32/4"), patch_embeddings("32/4"), 1, shares, seeds=2)
    untouched = outputs("32/4").logits[0].softmax(-1)[1]
    assert_close(curve[:, 0], untouched.expand(2), atol=1e-5, rtol=0)
    assert torch.equal(curve, shuffle_curve(model("32/4"), patch_embeddings("32/4"), 1, shares, seeds=2))
    whole = jigsaw_logits(model("32/4"), patch_embeddings("32/4"), order("32/4", seed=1)).softmax(-1)[0, 1]
    assert_close(curve[1, 2], whole, atol=1e-5, rtol=0)


def test_position_similarity_lies_on_the_grid():
    positions = model("16x24/4").vit.embeddings.position_embeddings[0]
    similarity = position_similarity(positions, (4, 6))
    assert similarity.shape == (4, 6, 4, 6)
    assert_close(similarity[1, 2, 1, 2], torch.tensor(1.0))
    shared = sum(positions[1 + place] for place in range(24)) / 24
    assert_close(similarity[1, 2, 3, 4], cosine_similarity(positions[1 + 8] - shared, positions[1 + 22] - shared, dim=0))


@torch.no_grad()
def test_what_all_places_share_says_nothing_of_places():
    """It is not seen in the similarity, and the model cannot tell where it lies: in every position or in the projection's bias."""
    vit, shared = random_vit(**SHAPES["32/4"]), torch.randn(48, generator=torch.Generator().manual_seed(0))
    table, bias = vit.vit.embeddings.position_embeddings, vit.vit.embeddings.patch_embeddings.projection.bias
    before, similarity = vit(pixels("32/4")).logits, position_similarity(table[0], (8, 8))
    table[0, 1:] += shared
    assert_close(position_similarity(table[0], (8, 8)), similarity, atol=1e-4, rtol=0)
    assert (vit(pixels("32/4")).logits - before).abs().max() > 0.05
    bias -= shared
    assert_close(vit(pixels("32/4")).logits, before, atol=1e-4, rtol=0)


def test_neighbours_lie_side_by_side_or_above_each_other():
    similarity = position_similarity(model("16x24/4").vit.embeddings.position_embeddings[0], (4, 6))
    cosines, pairs = similarity.reshape(24, 24), [(a, b) for a in range(24) for b in range(a)]
    near = [(a, b) for a, b in pairs if abs(a // 6 - b // 6) + abs(a % 6 - b % 6) == 1]
    beside, anywhere = neighbour_similarity(similarity)
    assert beside == pytest.approx(sum(cosines[a, b].item() for a, b in near) / len(near), abs=1e-6)
    assert anywhere == pytest.approx(sum(cosines[a, b].item() for a, b in pairs) / len(pairs), abs=1e-6)
    assert neighbour_similarity(torch.ones(1, 1, 1, 1)) == (0, 0)


@pytest.mark.parametrize("side", [7, 8, 14])
def test_places_that_are_all_the_same_are_like_none(side):
    same = torch.randn(1, 48, generator=torch.Generator().manual_seed(0)).expand(1 + side**2, 48)
    assert not position_similarity(same, (side, side)).any()


def table(name: str) -> torch.Tensor:
    return model(name).vit.embeddings.position_embeddings[0]


def of_the_library(name: str, rows: int, cols: int) -> torch.Tensor:
    """What transformers itself interpolates for a picture of rows x cols patches."""
    embeddings, patch = model(name).vit.embeddings, model(name).config.patch_size
    return embeddings.interpolate_pos_encoding(torch.zeros(1, 1 + rows * cols, 48), rows * patch, cols * patch)[0]


@pytest.mark.parametrize("name, rows, cols", [("32/4", 16, 16), ("32/4", 4, 4), ("32/4", 13, 13), ("32/4", 8, 8), ("32/4", 5, 12), ("32/4", 12, 5),
                                              ("224/16", 28, 28), ("224/16", 7, 7), ("224/16", 24, 24)])
def test_positions_are_interpolated_as_the_library_does(name, rows, cols):
    assert_close(interpolated(table(name), model_grid(model(name)), (rows, cols)), of_the_library(name, rows, cols), atol=0, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_at_its_own_size_nothing_is_interpolated(name):
    grid = model_grid(model(name))
    assert torch.equal(interpolated(table(name), grid, grid), table(name))


def test_rows_and_columns_of_an_oblong_grid_are_each_interpolated_as_those_of_a_square():
    """What depends on the column alone is interpolated along the columns alone, and that of the row along the rows."""
    along = table("32/4")[1:9]
    for other, oblong in [((6, 16), (4, 8)), ((16, 6), (8, 4))]:
        wide = oblong[1] == 8
        spread = along.expand(4, 8, -1) if wide else along[:, None].expand(8, 4, -1)
        square = torch.nn.functional.interpolate(along.expand(8, 8, -1).permute(2, 0, 1)[None], size=(16, 16), mode="bicubic")[0, :, 0].T
        made = interpolated(torch.cat([along[:1], spread.flatten(0, 1)]), oblong, other)[1:].reshape(*other, -1)
        for line in made if wide else made.transpose(0, 1):
            assert_close(line, square, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name, other", [("32/4", (8, 8)), ("32/4", (13, 13)), ("16x24/4", (8, 12)), ("16x24/4", (2, 3))])
def test_what_is_seen_from_one_place_is_its_row_of_all_cosines(name, other):
    new = interpolated(table(name), model_grid(model(name)), other)
    whole = position_similarity(new, other)
    for place in (0, 5):
        cosines, beside = seen_from(new, other, place)
        assert_close(cosines, whole[place // other[1], place % other[1]])
        assert beside == pytest.approx(neighbour_similarity(whole)[0], abs=1e-6)
    assert seen_from(table("32/4")[:2], (1, 1), 0) == (torch.zeros(1, 1), 0.0)


def test_places_that_are_all_the_same_stay_so_at_every_size():
    same = torch.randn(1, 48, generator=torch.Generator().manual_seed(0)).expand(65, 48)
    for side in (4, 7, 13, 16):
        cosines, beside = seen_from(interpolated(same, (8, 8), (side, side)), (side, side), 3)
        assert not cosines.any() and beside == 0


def test_a_patch_lies_where_its_middle_falls():
    assert [place_on(patch, (4, 6), (4, 6)) for patch in range(24)] == list(range(24))
    assert [place_on(patch, (4, 6), (8, 12)) for patch in (0, 5, 18, 23)] == [13, 23, 85, 95]
    assert [place_on(patch, (4, 6), (2, 3)) for patch in range(24)] == [0, 0, 1, 1, 2, 2] * 2 + [3, 3, 4, 4, 5, 5] * 2
