"""Photos that the app would refuse for their size are learned from all the same, and what is wrong with others is still said."""

import io

import numpy
import pytest
import torch
from PIL import Image

from tests.training_data import image_folder
from training import files
from training.config import TrainConfig
from training.data import load_splits
from vit_demo import images
from vit_demo.errors import UserError


def encoded(picture: Image.Image, kind: str, **more) -> bytes:
    held = io.BytesIO()
    picture.save(held, kind, **more)
    return held.getvalue()


@pytest.fixture
def smooth() -> Image.Image:
    """90 x 60 pixels whose neighbours differ little, as in a photo."""
    levels = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(0)), (60, 90), mode="bicubic").clamp(0, 1)
    return Image.fromarray((levels[0] * 255).byte().permute(1, 2, 0).numpy())


@pytest.fixture
def small_limits(monkeypatch):
    """The app takes 2,000 pixels, a training 10,000: 90 x 60 lies between."""
    monkeypatch.setattr(images, "MOST_PIXELS", 2_000)
    monkeypatch.setattr(files, "MOST_PIXELS", 10_000)


def test_the_photo_of_a_camera_is_taken():
    photo = encoded(Image.new("RGB", (5184, 3456), (10, 200, 30)), "JPEG")
    with pytest.raises(UserError, match="the limit is 16 million"):
        images.open_picture(photo)
    picture = files.opened(photo)
    assert picture.size == (2592, 1728) and picture.mode == "RGB" and abs(picture.getpixel((9, 9))[1] - 200) < 3


@pytest.mark.parametrize("kind, mode", [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("BMP", "RGB"), ("GIF", "P"),
                                        ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "I;16"), ("PNG", "1")])
def test_what_a_model_sees_of_a_large_picture_is_the_same(smooth, small_limits, monkeypatch, kind, mode):
    picture = Image.fromarray(numpy.array(smooth.convert("L")).astype("uint16") * 257) if mode == "I;16" else smooth.convert(mode)
    data = encoded(picture, kind)
    found = files.opened(data)
    assert found.size == (45, 30) and found.mode == "RGB"
    monkeypatch.setattr(images, "MOST_PIXELS", 10_000)
    whole = images.open_picture(data)
    seen, expected = (files.to_tensor(image, (10, 15), Image.Resampling.BILINEAR).float() for image in (found, whole))
    assert (seen - expected).abs().max() <= (16 if mode in ("1", "P") else 4)  # of 255; where few colours make patterns the two ways of averaging differ more


def test_a_large_photo_is_turned_upright_and_read_from_a_file(smooth, small_limits, tmp_path):
    orientation = Image.Exif()
    orientation[0x0112] = 6
    smooth.save(tmp_path / "turned.jpg", exif=orientation)
    assert files.opened(str(tmp_path / "turned.jpg")).size == (30, 45)


def test_a_stream_of_large_photos_gives_what_memory_gives(small_limits, tmp_path):
    folder = image_folder(tmp_path, size=lambda number: (90, 60) if number % 2 else (40, 40))
    held, stream = (load_splits(TrainConfig(dataset=str(folder), workers=0, resident_gb=gb), 8, progress=False).train for gb in (1, 0))
    everything = torch.arange(len(held))
    assert held.fingerprint == stream.fingerprint and isinstance(held.pixels, torch.Tensor) and not isinstance(stream.pixels, torch.Tensor)
    assert all(torch.equal(one, other) for one, other in zip(held.feed([everything]), stream.feed([everything]), strict=True))


def test_pictures_that_the_app_takes_are_left_as_they_are(smooth):
    assert files.opened(encoded(smooth, "PNG")).tobytes() == smooth.tobytes()


def test_what_is_wrong_with_a_large_picture_is_said(smooth, small_limits, monkeypatch):
    data = encoded(smooth, "PNG")
    with pytest.raises(UserError, match="damaged or incomplete"):
        files.opened(data[:-400])
    with pytest.raises(UserError, match="not a readable picture"):
        files.opened(b"nothing")
    monkeypatch.setattr(files, "MOST_PIXELS", 5_000)
    with pytest.raises(UserError, match="this picture is 90x60 pixels; the limit is 89 million pixels: make it smaller"):
        files.opened(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_000)
    with pytest.raises(UserError, match="this picture is far too large; the limit is 89 million pixels: make it smaller"):
        files.opened(data)


def test_the_bound_is_one_that_pillow_does_not_take_for_an_attack():
    assert images.MOST_PIXELS < files.MOST_PIXELS < Image.MAX_IMAGE_PIXELS
