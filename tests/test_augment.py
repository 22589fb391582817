"""Augmentation on cases small enough to check by hand, and resizing against the processor itself."""

import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessorPil

from tests.tiny import noise
from training import augment
from training.augment import CROP_X, CROP_Y, FIRST_OPERATION, FLIP, View, crop_and_flip, erase, mix, mix_plan, normalise, resize, soft_targets
from training.batches import augmented
from training.config import TrainConfig
from training.randaugment import randaugment

PLAIN = torch.full((1, FIRST_OPERATION), 0.5)  # the middle window, not mirrored


def draws(**values) -> torch.Tensor:
    row = PLAIN.clone()
    for name, value in values.items():
        row[0, getattr(augment, name)] = value
    return row


def test_a_window_of_the_reflected_picture():
    picture = torch.arange(9).view(1, 1, 3, 3)
    assert torch.equal(crop_and_flip(picture, PLAIN, 1, True), picture)
    up_left = crop_and_flip(picture, draws(CROP_Y=0, CROP_X=0), 1, True)
    assert up_left[0, 0].tolist() == [[4, 3, 4], [1, 0, 1], [4, 3, 4]]
    down = crop_and_flip(picture, draws(CROP_Y=0.99), 2, True)
    assert down[0, 0].tolist() == [[6, 7, 8], [3, 4, 5], [0, 1, 2]]
    padded = torch.nn.functional.pad(noise(1, 8).float(), (4, 4, 4, 4), mode="reflect")
    for y, x in ((0, 8), (3, 5), (8, 1)):
        row = draws(CROP_Y=(y + 0.5) / 9, CROP_X=(x + 0.5) / 9)
        assert torch.equal(crop_and_flip(noise(1, 8), row, 4, True).float(), padded[..., y : y + 8, x : x + 8])


def window(**values) -> torch.Tensor:
    """A row of draws: the middle of them all, unless said otherwise."""
    row = torch.full((1, FIRST_OPERATION + 2), 0.5)
    for name, value in values.items():
        row[0, getattr(augment, name)] = value
    return row


def test_the_whole_picture_is_the_largest_window():
    levels = noise(1, 32)
    whole = window(WINDOW_AREA=1.0)
    assert torch.equal(augment.resized_window(levels, whole, 0.25, True, 32), levels.float())
    assert torch.equal(augment.resized_window(levels, window(WINDOW_AREA=1.0, FLIP=0.1), 0.25, True, 32), levels.flip(3).float())
    assert torch.equal(augment.resized_window(levels, window(WINDOW_AREA=1.0, FLIP=0.1), 0.25, False, 32), levels.float())


@pytest.mark.parametrize("size", [8, 20, 33])
def test_a_window_is_what_pillow_cuts_out_and_resizes(size):
    """A quarter of the area, as wide as tall: 16 x 16 px at (12, 4) of 32 x 32."""
    levels = noise(1, 32)
    ours = augment.resized_window(levels, window(WINDOW_AREA=0.0, CROP_Y=12 / 16, CROP_X=4 / 16), 0.25, False, size)[0]
    picture = Image.fromarray(levels[0].permute(1, 2, 0).numpy()).crop((4, 12, 20, 28)).resize((size, size), Image.Resampling.BILINEAR)
    assert (ours - torch.tensor(list(picture.getdata())).view(size, size, 3).permute(2, 0, 1)).abs().max() <= 1


def test_windows_have_the_area_and_the_sides_that_are_drawn():
    """Seen on pictures that hold their own coordinates: how far a window reaches is what its corners say."""
    across = torch.linspace(0, 255, 256).expand(1, 1, 256, 256)
    rows = torch.cat([window(**dict(zip(("CROP_Y", "CROP_X", "WINDOW_AREA", "WINDOW_RATIO"), drawn, strict=True))) for drawn in torch.rand(400, 4, generator=torch.Generator().manual_seed(0)).tolist()])
    wide = (lambda seen: seen[:, 0, 0, -1] - seen[:, 0, 0, 0])(augment.resized_window(across.expand(400, -1, -1, -1), rows, 0.25, False, 64))
    tall = (lambda seen: seen[:, 0, -1, 0] - seen[:, 0, 0, 0])(augment.resized_window(across.mT.expand(400, -1, -1, -1), rows, 0.25, False, 64))
    share, ratio = wide * tall / 255 ** 2, wide / tall
    assert 0.23 < share.min() < 0.3 and 0.9 < share.max() <= 1 and 0.72 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.38
    drawn = 0.25 + 0.75 * rows[:, augment.WINDOW_AREA]
    assert (share - drawn)[drawn < 0.7].abs().max() < 0.03


def test_the_smallest_window_of_a_tiny_picture_is_a_pixel():
    assert augment.resized_window(noise(5, 2), torch.rand(5, FIRST_OPERATION + 2), 0.01, True, 4).isfinite().all()


def test_a_batch_is_cut_out_before_it_is_changed_otherwise():
    """Of another size than the model's, as its pictures on the device are; RandAugment reads its own draws, and the window's stand after them."""
    config, view = TrainConfig(crop_area=0.25, randaugment=2, erasing=0.0), View(20, Image.Resampling.BICUBIC, torch.zeros(3), torch.ones(3))
    levels, draws = noise(4, 32), augment.epoch_draws(4, 2, 0, 0, windows=True)
    cut = augment.resized_window(levels, draws, 0.25, True, 20)
    assert torch.equal(augmented(levels, draws, config, view) * 255, randaugment(cut, draws[:, FIRST_OPERATION:-2], config.magnitude))


def test_runs_without_windows_draw_what_they_always_drew():
    plain, with_windows = augment.epoch_draws(10, 2, 0, 0), augment.epoch_draws(10, 2, 0, 0, windows=True)
    assert plain.shape == (10, FIRST_OPERATION + 6) and with_windows.shape == (10, FIRST_OPERATION + 8)


def test_half_are_mirrored():
    picture = noise(1, 4)
    assert torch.equal(crop_and_flip(picture, draws(FLIP=0.49), 0, True), picture.flip(3))
    assert torch.equal(crop_and_flip(picture, draws(FLIP=0.49), 0, False), picture)
    table = augment.epoch_draws(4000, 0, seed=0, epoch=0)
    assert abs((table[:, FLIP] < 0.5).float().mean() - 0.5) < 0.03
    shifts = (table[:, CROP_Y] * 9).long().bincount()
    assert len(shifts) == 9 and shifts.min() > 350 and not torch.equal(shifts, (table[:, CROP_X] * 9).long().bincount())


def test_draws_belong_to_seed_epoch_and_picture():
    table = augment.epoch_draws(10, 2, seed=1, epoch=3)
    assert table.shape == (10, FIRST_OPERATION + 6) and 0 <= table.min() and table.max() < 1
    assert torch.equal(table, augment.epoch_draws(10, 2, 1, 3))
    assert not (table == augment.epoch_draws(10, 2, 1, 4)).any() and not (table == augment.epoch_draws(10, 2, 2, 3)).any()


@pytest.mark.parametrize("resample", [0, 2, 3])
@pytest.mark.parametrize("sides", [((32, 32), 224), ((40, 56), 24), ((20, 50), 32), ((300, 200), 224), ((32, 32), 32)])
def test_resizing_is_within_one_grey_level_of_the_processor(sides, resample):
    (height, width), size = sides
    checkers = (torch.arange(height)[:, None] // 3 + torch.arange(width) // 2) % 2 * 255  # bicubic overshoots on these
    generator = torch.Generator().manual_seed(0)
    pictures = torch.stack([torch.randint(0, 256, (3, height, width), generator=generator), checkers.expand(3, -1, -1)]).to(torch.uint8)
    processor = ViTImageProcessorPil(size={"height": size, "width": size}, resample=resample, do_rescale=False, do_normalize=False)
    expected = processor([Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pictures], return_tensors="pt").pixel_values.float()
    found = resize(pictures, size, resample)
    assert found.shape == (2, 3, size, size) and torch.equal(found, found.round())
    assert (found - expected).abs().max() <= 1
    if (height, width) == (size, size):
        assert torch.equal(found, pictures.float())


def test_a_view_is_the_processor():
    processor = ViTImageProcessorPil(size={"height": 16, "width": 16}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4], resample=2)
    levels = noise(3, 16)
    view = View.of(processor, torch.device("cpu"))
    expected = processor([Image.fromarray(p.permute(1, 2, 0).numpy()) for p in levels], return_tensors="pt").pixel_values
    torch.testing.assert_close(view.normalised(view.resized(levels)), expected, rtol=0, atol=1e-6)
    black = normalise(torch.zeros(1, 3, 1, 1), view.mean, view.std)
    torch.testing.assert_close(black.flatten(), torch.tensor([-2.0, -5 / 3, -1.5]))


def test_erasing_makes_one_grey_rectangle_of_the_size_that_was_drawn():
    pictures = noise(500, 32).float().clamp(max=120)
    table = augment.epoch_draws(500, 0, seed=0, epoch=0)
    grey = (erase(pictures, table, 0.25) == 127.5).all(1)
    assert torch.equal(grey.any(2).any(1), table[:, augment.ERASE] < 0.25)  # these and no others
    assert not (erase(pictures, table, 0.0) == 127.5).any()
    rows, columns = grey.any(2).sum(1), grey.any(1).sum(1)
    assert torch.equal(rows * columns, grey.sum((1, 2)))  # rectangles
    shares = grey.sum((1, 2))[grey.any(2).any(1)] / 32**2
    assert 0.01 < shares.min() and shares.max() < 0.36 and 0.1 < shares.mean() < 0.25
    assert torch.equal(erase(pictures, table, 0.25)[~grey[:, None].expand(-1, 3, -1, -1)], pictures[~grey[:, None].expand(-1, 3, -1, -1)])


@pytest.mark.parametrize("drawn, ratio", [(0, 0.3), (0.5, 1), (1, 3.3)])
def test_an_erased_rectangle_is_as_tall_for_its_width_as_was_drawn(drawn, ratio):
    grey = erase(torch.zeros(1, 1, 300, 300), draws(ERASE=0, ERASE_RATIO=drawn), 1.0)[0, 0] > 0
    assert (grey.any(1).sum() / grey.any(0).sum()).item() == pytest.approx(ratio, rel=0.03)


def test_mixup_is_the_weighted_mean():
    own, other = torch.full((2, 1, 2, 2), 100.0), torch.zeros(2, 1, 2, 2)
    mixed, share = mix(own, other, torch.tensor([0.25, 1.0]), torch.zeros(2, 2), cut=False)
    assert mixed[:, 0, 0, 0].tolist() == [25, 100] and share.tolist() == [0.25, 1]


def test_cutmix_pastes_a_box_and_counts_its_pixels():
    own, other = torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)
    share = torch.tensor([0.75, 0.75, 1.0, 0.0])
    centre = torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.5, 0.5], [0.5, 0.5]])
    mixed, kept = mix(own, other, share, centre, cut=True)
    assert kept.tolist() == [0.75, 0.9375, 1.0, 0.0]  # a corner cuts the second box to a quarter
    assert torch.equal(1 - mixed.mean((1, 2, 3)), kept)
    assert mixed[0, 0, 2:6, 2:6].sum() == 16 and mixed[1, 0, :2, 6:].sum() == 4


def test_the_plan_of_an_epoch():
    config = TrainConfig(mixup=0.8, cutmix=1.0, mix_probability=0.5, epochs=10, mix_until=0.8)
    plan = mix_plan(config, epoch=0, count=4100, batch_size=8)
    partner, share = plan["partner"], plan["share"]
    assert partner.shape == share.shape == (512, 8) and plan["cut"].shape == (512,) and plan["centre"].shape == (512, 8, 2)
    assert torch.equal(partner.sort(1).values, torch.arange(8).expand(512, 8))  # each picture is partner once
    mixed = (share < 1).any(1)
    assert abs(mixed.float().mean() - 0.5) < 0.07 and abs(plan["cut"].float().mean() - 0.5) < 0.07
    assert (share[~mixed] == 1).all() and 0 <= share.min()
    assert all(torch.equal(plan[name], tensor) for name, tensor in mix_plan(config, 0, 4100, 8).items())
    assert not torch.equal(partner, mix_plan(config, 1, 4100, 8)["partner"])
    assert mix_plan(config, 7, 4100, 8) is not None and mix_plan(config, 8, 4100, 8) is None  # off for the last fifth
    assert mix_plan(TrainConfig(), 0, 4100, 8) is None
    assert mix_plan(TrainConfig(cutmix=1.0), 0, 4100, 8)["cut"].all() and not mix_plan(TrainConfig(mixup=1.0), 0, 4100, 8)["cut"].any()


def test_targets_are_the_mix_of_two_smoothed_classes_and_sum_to_one():
    found = soft_targets(torch.tensor([0, 2]), torch.tensor([1, 2]), torch.tensor([0.75, 0.5]), 4, 0.2)
    torch.testing.assert_close(found, torch.tensor([[0.65, 0.25, 0.05, 0.05], [0.05, 0.05, 0.85, 0.05]]))
    torch.testing.assert_close(found.sum(1), torch.ones(2))
