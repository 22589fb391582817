"""Each operation against its formula, one picture at a time; pictures do not touch each other."""

import math

import pytest
import torch

from tests.tiny import noise
from training.randaugment import OPERATIONS, affine, randaugment, warp

SIZE = 9  # odd, so that the middle of the picture is a pixel


def draw(name: str, strength: float = 0.0, slots: int = 1, sign: float = 0.9) -> torch.Tensor:
    """One picture's draws: the named operation first, then identities. A sign below 0.5 is negative."""
    row = torch.zeros(1, 3 * slots)
    row[0, :3] = torch.tensor([(OPERATIONS.index(name) + 0.5) / len(OPERATIONS), strength, sign])
    return row


def one(name: str, strength: float, picture: torch.Tensor, sign: float = 0.9) -> torch.Tensor:
    return randaugment(picture, draw(name, strength, sign=sign), 1.0)[0]


@pytest.fixture
def picture():
    return noise(1, SIZE)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_strength_leaves_every_pixel(name, picture):
    picture[0, :, 0, 0], picture[0, :, 0, 1] = 0, 255  # for autocontrast nothing is left to do either
    many = noise(50, SIZE)
    assert torch.equal(one(name, 0.0, picture), picture[0].float())
    assert torch.equal(randaugment(many, torch.zeros(50, 6), 1.0), many.float())  # two identities each


def test_strong_operations_change_pictures_and_stay_whole_levels_in_range(picture):
    for name in OPERATIONS[1:]:
        for sign in (0.1, 0.9):
            found = one(name, 0.9, picture, sign)
            assert not torch.equal(found, picture[0].float()), name
            assert found.min() >= 0 and found.max() <= 255 and torch.equal(found, found.round())


def test_brightness_contrast_and_saturation_blend(picture):
    levels = picture[0].float()
    grey = (levels * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)
    for sign, factor in ((0.9, 1.45), (0.1, 0.55)):
        expected = {"brightness": levels * factor, "contrast": grey.mean() + (levels - grey.mean()) * factor, "saturation": grey + (levels - grey) * factor}
        for name, wanted in expected.items():
            torch.testing.assert_close(one(name, 0.5, picture, sign), wanted.clamp(0, 255), rtol=0, atol=0.501)


def test_sharpness_blends_with_the_mean_of_the_neighbours(picture):
    levels = picture[0].float()
    for sign, factor in ((0.9, 1.45), (0.1, 0.55)):
        around = levels[:, 2:5, 3:6].mean((1, 2))
        expected = (around + (levels[:, 3, 4] - around) * factor).clamp(0, 255)
        torch.testing.assert_close(one("sharpness", 0.5, picture, sign)[:, 3, 4], expected, rtol=0, atol=0.501)


def test_posterize_solarize_and_autocontrast(picture):
    levels = picture[0]
    assert torch.equal(one("posterize", 0.5, picture).long(), (levels // 4 * 4).long())  # two bits less
    assert torch.equal(one("posterize", 1.0, picture).long(), (levels // 16 * 16).long())
    assert torch.equal(one("solarize", 0.5, picture).long(), torch.where(levels >= 128, 255 - levels.long(), levels.long()))
    narrow = noise(1, SIZE) // 4 + 50
    low, high = narrow[0].flatten(1).min(1).values.float(), narrow[0].flatten(1).max(1).values.float()
    expected = (narrow[0] - low.view(3, 1, 1)) * (255 / (high - low)).view(3, 1, 1)
    torch.testing.assert_close(one("autocontrast", 0.5, narrow), expected, rtol=0, atol=0.501)
    flat = torch.full((1, 3, 4, 4), 7, dtype=torch.uint8)
    assert torch.equal(one("autocontrast", 0.5, flat), flat[0].float())


def test_geometry_moves_what_it_should():
    dot = torch.full((1, 3, SIZE, SIZE), 127, dtype=torch.uint8)
    dot[0, :, 2, 4] = 255
    shift = 2 * 2 / SIZE / 0.6  # two pixels of the -1..1 that the picture spans
    assert one("translate_x", shift, dot)[0].argmax() == 2 * SIZE + 2
    assert one("translate_y", shift, dot, sign=0.1)[0].argmax() == 4 * SIZE + 4
    sheared = one("shear_x", 0.8 * 5 / 6, dot)[0]  # 0.4 px a row; the dot is two rows above the middle: 0.8 px, nearest 1
    assert sheared.argmax() == 2 * SIZE + 5
    turned = affine(torch.tensor([[OPERATIONS.index("rotate")]]), torch.tensor([[0.75]]))[0]
    angle = 0.75 * math.pi / 3
    torch.testing.assert_close(turned, torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]))
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    assert torch.equal(warp(dot.float(), quarter).round(), torch.rot90(dot.float(), 1, (2, 3)))


def test_what_a_shift_uncovers_is_grey(picture):
    found = one("translate_x", 1.0, picture)
    assert (found[:, :, -2:] - 127.5).abs().max() <= 0.5


def test_two_operations_follow_each_other(picture):
    row = torch.cat([draw("posterize", 1.0), draw("brightness", 1.0)], 1)
    expected = ((picture[0] // 16 * 16).float() * 1.9).round().clamp(max=255)
    assert torch.equal(randaugment(picture, row, 1.0)[0], expected)


def test_a_picture_gets_the_same_alone_and_among_others():
    pictures, table = noise(64, SIZE), torch.rand(64, 6, generator=torch.Generator().manual_seed(0))
    together = randaugment(pictures, table, 0.7)
    for i in (0, 13, 63):
        assert torch.equal(randaugment(pictures[i : i + 1], table[i : i + 1], 0.7)[0], together[i])
    order = torch.randperm(64)
    assert torch.equal(randaugment(pictures[order], table[order], 0.7), together[order])
