"""Photos that the app would refuse for their size are learned from all the same, and what is wrong with others is still said."""

import io

import pytest
import torch
from PIL import Image

from tests.training_data import image_folder
from training import files
from training.config import TrainConfig
from training.data import load_splits
from vit_demo import images
from vit_demo.errors import UserError


def encoded(picture: Image.Image, kind: str) -> bytes:
    held = io.BytesIO()
    picture.save(held, kind)
    return held.getvalue()


def learned_from(data: bytes) -> Image.Image:
    return files.Files(None, [0], "train").decode(0, {"bytes": data, "path": None})


@pytest.mark.parametrize("kind, size, kept", [("JPEG", (8640, 6480), (4320, 3240)), ("PNG", (5184, 5184), (2592, 2592))])
def test_the_photo_of_a_good_camera_is_taken(kind, size, kept):
    photo = encoded(Image.new("RGB", size, (10, 200, 30)), kind)
    with pytest.raises(UserError, match="make it smaller"):
        images.open_picture(photo)
    picture = learned_from(photo)
    assert picture.size == kept and picture.mode == "RGB" and abs(picture.getpixel((9, 9))[1] - 200) < 3


@pytest.mark.parametrize("picture", [Image.new("RGB", (9, 7), (10, 200, 30)), Image.new("L", (9, 7), 200), Image.new("I;16", (9, 7), 200 * 257)], ids=["colour", "grey", "grey of 16 bits"])
@pytest.mark.parametrize("packed", [None, "tiff_lzw"])
def test_a_tiff_is_learned_from_and_not_taken_from_visitors(picture, packed):
    held = io.BytesIO()
    picture.save(held, "TIFF", compression=packed)
    with pytest.raises(UserError, match="use PNG, JPEG"):
        images.open_picture(held.getvalue())
    seen = learned_from(held.getvalue())
    assert seen.mode == "RGB" and seen.size == (9, 7) and seen.getpixel((3, 3))[1] == 200


def test_a_stream_of_large_photos_gives_what_memory_gives(monkeypatch, tmp_path):
    monkeypatch.setattr(images, "KEPT_PIXELS", 2_000)
    folder = image_folder(tmp_path, size=lambda number: (90, 60) if number % 2 else (40, 40))
    held, stream = (load_splits(TrainConfig(dataset=str(folder), workers=0, resident_gb=gb), 8, progress=False).train for gb in (1, 0))
    everything = torch.arange(len(held))
    assert held.fingerprint == stream.fingerprint and isinstance(held.pixels, torch.Tensor) and not isinstance(stream.pixels, torch.Tensor)
    assert all(torch.equal(one, other) for one, other in zip(held.feed([everything]), stream.feed([everything]), strict=True))


def test_what_is_too_large_to_learn_from_is_said():
    with pytest.raises(UserError, match="train row 0: this picture is 9450x9450 pixels; the limit is 89 million: make it smaller"):
        learned_from(encoded(Image.new("1", (9450, 9450)), "PNG"))


def test_the_bound_is_one_that_pillow_does_not_take_for_an_attack():
    assert images.MOST_OF_JPEG < files.MOST_PIXELS < Image.MAX_IMAGE_PIXELS
