"""Packed numbers come out as they went in; pictures too."""

import base64
import io

import numpy as np
import torch
from PIL import Image

from vit_demo.draw import data_uri, pack, picture, plain, signed_colours

KINDS = {"f32": ("<f4", None), "u16": ("<u2", 65535), "u8": ("<u1", 255)}


def unpack(packed: dict) -> torch.Tensor:
    """What web/vit.js does."""
    kind, top = KINDS[packed["kind"]]
    raw = np.frombuffer(base64.b64decode(packed["data"]), kind).astype("f8")
    values = raw if top is None else packed["offset"] + raw / top * packed["scale"]
    return torch.tensor(values).reshape(packed["shape"])


def test_floats_are_exact_and_steps_are_even():
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    span = (values.max() - values.min()).item()
    assert torch.equal(unpack(pack(values, "f32")).float(), values)
    assert (unpack(pack(values, "u16")) - values).abs().max() <= span / 65535
    assert (unpack(pack(values, "u8")) - values).abs().max() <= span / 255


def test_pixels_survive_as_bytes():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(3, 1, 1)
    assert torch.equal(unpack(pack(pixels, "u8")).round().to(torch.uint8), pixels)


def test_equal_values_do_not_divide_by_zero():
    assert torch.equal(unpack(pack(torch.zeros(2, 2), "u16")), torch.zeros(2, 2, dtype=torch.float64))


def test_a_small_picture_is_sent_exactly_and_a_large_one_is_made_smaller():
    colours = torch.randint(0, 256, (3, 4, 6), dtype=torch.uint8)
    opened = Image.open(io.BytesIO(base64.b64decode(data_uri(picture(colours)).split(",")[1])))
    assert torch.equal(torch.tensor(np.array(opened)).permute(2, 0, 1), colours)
    large = Image.open(io.BytesIO(base64.b64decode(data_uri(Image.new("RGB", (3000, 1500)), lossless=False).split(",")[1])))
    assert large.size == (512, 256)


def test_zero_is_the_middle_grey():
    assert signed_colours(torch.tensor([-1.0, 0.0, 0.5])).tolist() == [0, 128, 191]


def test_plain_numbers_are_what_was_packed_wherever_they_lie():
    values = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    pixels = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
    told = plain({"a": [pack(values, "f32"), {"kind": "other"}], "b": (pack(values, "u16"), 1.5), "c": pack(pixels, "u8"), "d": None})
    assert np.abs(np.array(told["a"][0]) - values.numpy()).max() < 1e-7 and told["a"][1] == {"kind": "other"}
    assert np.abs(np.array(told["b"][0]) - values.numpy()).max() < 1e-4 and told["b"][1] == 1.5
    assert told["c"] == pixels.tolist() and told["d"] is None
