import pytest
import torch
from torch.testing import assert_close
from transformers import ViTImageProcessorPil

from tests.explain_models import SHAPES, model, pixels
from vit_demo.explain.patches import (
    model_grid, patch_box, patch_index, patchify, pixel_steps, row_and_col, unnormalise, unpatchify,
)


@pytest.mark.parametrize("name", SHAPES)
def test_patches_put_back_are_the_picture(name):
    picture = pixels(name)
    grid = model_grid(model(name))
    assert torch.equal(unpatchify(patchify(picture, model(name).config.patch_size), grid), picture)
    assert torch.equal(unpatchify(patchify(picture[0], model(name).config.patch_size), grid), picture[0])


def test_patches_come_in_reading_order():
    picture = torch.arange(2 * 4 * 6).reshape(2, 4, 6)
    patches = patchify(picture, 2)
    assert patches.shape == (6, 2, 2, 2)
    assert torch.equal(patches[1], picture[:, 0:2, 2:4])
    assert torch.equal(patches[3], picture[:, 2:4, 0:2])


def test_patch_box_cuts_out_that_patch():
    picture = pixels("16x24/4")[0]
    patches = patchify(picture, 4)
    for index in range(24):
        left, top, right, bottom = patch_box(index, (4, 6), 4)
        assert torch.equal(picture[:, top:bottom, left:right], patches[index])


def test_row_and_column_name_the_patch():
    assert row_and_col(7, (4, 6)) == (1, 1)
    assert [patch_index(*row_and_col(i, (4, 6)), (4, 6)) for i in range(24)] == list(range(24))
    for outside in (-1, 24):
        with pytest.raises(ValueError, match=f"patch {outside} is not on the grid of 4 x 6"):
            row_and_col(outside, (4, 6))
    with pytest.raises(ValueError, match="row 4, column 0"):
        patch_index(4, 0, (4, 6))


def test_a_grid_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="5x6 px picture does not divide into 2 px patches"):
        patchify(torch.zeros(3, 5, 6), 2)
    with pytest.raises(ValueError, match="4 patches do not fill a grid of 2 rows x 3 columns"):
        unpatchify(torch.zeros(4, 3, 2, 2), (2, 3))


def test_a_pixel_goes_in_and_comes_back():
    mean, std = [0.5, 0.4, 0.3], [0.5, 0.25, 0.2]
    steps = pixel_steps([255, 51, 0], 1 / 255, mean, std)
    assert_close(steps.byte, torch.tensor([255.0, 51.0, 0.0]))
    assert_close(steps.rescaled, torch.tensor([1.0, 0.2, 0.0]))
    assert_close(steps.normalised, torch.tensor([1.0, -0.8, -1.5]))
    assert_close(unnormalise(steps.normalised[:, None, None], mean, std)[:, 0, 0], steps.rescaled)


def test_unnormalise_undoes_the_processor():
    processor = ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
    picture = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = processor(picture.permute(1, 2, 0).numpy(), return_tensors="pt").pixel_values[0]
    assert_close(unnormalise(seen, processor.image_mean, processor.image_std) * 255, picture.float(), atol=1e-3, rtol=0)
    steps = pixel_steps(picture[:, 3, 5], processor.rescale_factor, processor.image_mean, processor.image_std)
    assert_close(steps.normalised, seen[:, 3, 5].float(), atol=1e-5, rtol=0)
