"""open_picture: what opens becomes the right RGB pixels, what does not is refused in one line that says what to do."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile

from vit_demo import images
from vit_demo.errors import UserError
from vit_demo.images import FORMATS, open_picture

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
UNREADABLE, DAMAGED = "not a readable picture: use PNG, JPEG", "damaged or incomplete: save or download"
TOO_LARGE, TOO_MUCH_TEXT = "million.*make it smaller", "text or too large a colour profile: save it again"


def saved(image: Image.Image, format: str, **options) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *before: tuple[bytes, bytes],
        after: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """A PNG made chunk by chunk, so that it may say what no library would write."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *before,
              (b"IDAT", zlib.compress(rows)), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks)


def pixels(image: Image.Image) -> list:
    return np.asarray(image).reshape(-1, 3).tolist()


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new):]


photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
film = bytes(range(256)) * 4 + 200 * b"\xff\xda"  # as a telephone appends one


def layered(times: int) -> bytes:
    """A JPEG that comes sharper and sharper, its last layer as often."""
    jpeg = saved(photo, "JPEG", progressive=True)
    return jpeg[:-2] + times * jpeg[jpeg.rindex(b"\xff\xda") : -2] + jpeg[-2:]


gif = saved(Image.new("P", (10, 10)), "GIF")
bomb = zlib.compress(bytes(100_000_000), 9)  # 100 kB that unpack to 100 MB
GREY, ROWS = (2, 2, 8, 0), b"\0\1\2\0\3\4"

REFUSED = {
    "nothing": (b"", UNREADABLE),
    "text": (b"I am no picture.\n" * 20, UNREADABLE),
    "html": (b"<!doctype html><script>alert(1)</script>", UNREADABLE),
    "layers": (layered(101), "built of too many layers to be read in time; save it again"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', UNREADABLE),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UNREADABLE),
    "pdf": (saved(photo, "PDF"), UNREADABLE),
    "tiff": (saved(photo, "TIFF"), UNREADABLE),
    "ico": (saved(photo, "ICO"), UNREADABLE),
    "ppm": (saved(photo, "PPM"), UNREADABLE),
    "tga": (saved(photo, "TGA"), UNREADABLE),
    "pickle": (b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94", UNREADABLE),
    "zip": (b"PK\x03\x04" + bytes(60), UNREADABLE),
    "zeros": (bytes(1000), UNREADABLE),
    "png signature alone": (b"\x89PNG\r\n\x1a\n", UNREADABLE),
    "png without pixels": (png(4, 4, 8, 2, b""), DAMAGED),
    "png cut in half": (saved(photo, "PNG")[:1500], DAMAGED),
    "png with a wrong checksum": (patched(saved(photo, "PNG"), 60, b"\0\0\0\0"), DAMAGED),
    "png with scrambled pixels": (patched(saved(photo, "PNG"), 500, bytes(300)), DAMAGED),
    "jpeg cut in half": (saved(photo, "JPEG")[:700], DAMAGED),
    "jpeg header alone": (saved(photo, "JPEG")[:30], DAMAGED),
    "webp cut in half": (saved(photo, "WEBP")[:300], DAMAGED),
    "bmp cut in half": (saved(photo, "BMP")[:1800], DAMAGED),
    "gif cut in half": (saved(photo.convert("P"), "GIF")[:900], DAMAGED),
    "gif header alone": (gif[:13], UNREADABLE),
    "png of 26 MP": (png(5200, 5000, 8, 0, b"\0"), TOO_LARGE),
    "png of 177 MP": (png(13300, 13300, 8, 0, b"\0"), TOO_LARGE),
    "png of 4 million MP": (png(2**31 - 1, 2**31 - 1, 8, 0, b"\0"), TOO_LARGE),
    "png one pixel high": (png(25_000_001, 1, 8, 0, b"\0"), TOO_LARGE),
    "bmp of 3600 MP": (patched(saved(photo, "BMP"), 18, struct.pack("<ii", 60000, 60000)), TOO_LARGE),
    "jpeg of 4000 MP": (patched(data := saved(photo, "JPEG"), data.index(b"\xff\xc0") + 5,
                                struct.pack(">HH", 65000, 65000)), TOO_LARGE),
    "jpeg of 54 MP": (patched(data, data.index(b"\xff\xc0") + 5, struct.pack(">HH", 6000, 9000)), TOO_LARGE),
    "jpeg of four colours and 26 MP": (patched(data := saved(photo.convert("CMYK"), "JPEG"), data.index(b"\xff\xc0") + 5,
                                               struct.pack(">HH", 5000, 5200)), TOO_LARGE),
    "gif of 4000 MP": (patched(gif, 6, struct.pack("<HH", 65000, 65000)), TOO_LARGE),
    "gif whose frame is larger than itself": (patched(gif, gif.index(b",", 13) + 5, struct.pack("<HH", 9000, 9000)),
                                              TOO_LARGE),
    "webp of 268 MP": (patched(data := saved(photo, "WEBP"), data.index(b"\x9d\x01\x2a") + 3,
                               struct.pack("<HH", 16383, 16383)), f"{TOO_LARGE}|{DAMAGED}|{UNREADABLE}"),
    "png with a zTXt bomb": (png(*GREY, ROWS, (b"zTXt", b"k\0\0" + bomb)), TOO_MUCH_TEXT),
    "png with an iTXt bomb": (png(*GREY, ROWS, (b"iTXt", b"k\0\1\0\0\0" + bomb)), TOO_MUCH_TEXT),
    "png with an iCCP bomb": (png(*GREY, ROWS, (b"iCCP", b"k\0\0" + bomb)), TOO_MUCH_TEXT),
    "png with a bomb after its pixels": (png(*GREY, ROWS, after=((b"zTXt", b"k\0\0" + bomb),)), TOO_MUCH_TEXT),
    "100 MB of anything": (bytes(100_000_001), "100 MB: make it smaller"),
    "an array": (np.zeros((3, 64, 3), np.uint8), "file's name, its bytes or a PIL image"),
    "no picture": (None, "choose or upload a picture first"),
    "PIL larger than 25 MP": (Image.new("1", (5001, 5000)), TOO_LARGE),
    "PIL in a mode without a way to RGB": (Image.new("La", (4, 4)), "kind La cannot be shown here: save it as RGB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    source, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        open_picture(source)
    if isinstance(source, bytes):  # the same by file, whatever its name promises
        (tmp_path / "holiday.png").write_bytes(source)
        with pytest.raises(UserError, match=message) as refusal:
            open_picture(tmp_path / "holiday.png")
        assert str(tmp_path) not in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match="no picture cat.png; check its name"):
        open_picture(tmp_path / "cat.png")
    with pytest.raises(UserError, match=UNREADABLE):
        open_picture(tmp_path)


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP", "GIF", "JPEG"])
def test_pixels_survive(format, tmp_path):
    image = photo if format != "GIF" else photo.quantize(16)
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(format, {})
    (tmp_path / "misnamed.txt").write_bytes(saved(image, format, **lossless))
    opened = open_picture(tmp_path / "misnamed.txt")
    difference = np.asarray(opened, int) - np.asarray(image.convert("RGB"), int)
    assert opened.mode == "RGB" and abs(difference).max() <= (5 if format == "JPEG" else 0)
    assert format in FORMATS and opened.info == {}


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "I", "F", "I;16", "LA", "PA", "RGBA", "RGBX"])
def test_every_mode_becomes_rgb(mode):
    grey = Image.new("L", (5, 3), 255)
    image = Image.new(mode, (5, 3), 65535) if mode == "I;16" else grey.convert("RGB").convert(mode) \
        if mode in ("CMYK", "YCbCr", "HSV", "RGBX") else grey.convert("LA").convert(mode) if mode == "PA" \
        else grey.convert(mode)
    opened = open_picture(image)
    assert opened.mode == "RGB" and opened.size == (5, 3) and pixels(opened) == [list(WHITE)] * 15


def test_colours_of_cmyk_and_palette():
    assert pixels(open_picture(saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "JPEG"))) == [
        pytest.approx(RED, abs=3)]
    palette = Image.new("P", (2, 1))
    palette.putpalette([*GREEN, *BLUE])
    palette.putdata([1, 0])
    assert pixels(open_picture(saved(palette, "PNG"))) == [list(BLUE), list(GREEN)]


def test_16_bit_grey_is_scaled_and_not_cut_off():
    ramp = np.arange(0, 65536, 257, dtype=np.uint16)  # exactly the 8-bit levels
    file = png(256, 1, 16, 0, b"\0" + ramp.astype(">u2").tobytes())
    levels = np.arange(256)[:, None].repeat(3, 1).tolist()
    assert pixels(open_picture(file)) == levels
    assert pixels(open_picture(Image.fromarray(ramp[None]))) == levels
    assert pixels(open_picture(Image.fromarray(ramp[None].astype(np.int32)))) == levels
    assert pixels(open_picture(Image.fromarray(np.arange(256, dtype=np.int32)[None]))) == levels
    assert pixels(open_picture(Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32)[None]))) == levels
    nothing_and_one = Image.fromarray(np.array([[np.nan, 1]], np.float32))
    assert pixels(open_picture(nothing_and_one)) == [list(BLACK), list(WHITE)]


def test_what_is_transparent_lies_on_white():
    image = Image.new("RGBA", (3, 1))
    image.putdata([(*RED, 0), (*RED, 255), (0, 0, 0, 127)])
    for format in ("PNG", "WEBP"):
        opened = pixels(open_picture(saved(image, format, **({"lossless": True} if format == "WEBP" else {}))))
        assert opened == [list(WHITE), list(RED), [128, 128, 128]], format
    palette = Image.new("P", (2, 1))
    palette.putpalette([*GREEN, *BLUE])
    palette.putdata([0, 1])
    for format in ("PNG", "GIF"):
        assert pixels(open_picture(saved(palette, format, transparency=0))) == [list(WHITE), list(BLUE)]
    key = png(2, 1, 8, 2, b"\0" + bytes(RED + GREEN), (b"tRNS", struct.pack(">HHH", *RED)))
    assert pixels(open_picture(key)) == [list(WHITE), list(GREEN)]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_upright(orientation, format):
    upright = Image.new("RGB", (48, 32), WHITE)
    upright.paste(RED, (0, 0, 16, 16))
    T = Image.Transpose
    stored = {1: None, 2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE, 6: T.ROTATE_90,
              7: T.TRANSVERSE, 8: T.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_picture(saved(upright.transpose(stored) if stored is not None else upright, format, exif=exif))
    assert opened.size == (48, 32)
    centres = [[tuple(pixels(picture)[48 * y + x]) for y in (8, 24) for x in (8, 24, 40)] for picture in (opened, upright)]
    assert np.abs(np.subtract(*centres)).max() <= 5  # JPEG and WebP lose a little, most at edges


def test_broken_exif_is_no_reason_to_refuse():
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" + b"\xff" * 30
    for format in ("PNG", "JPEG"):
        assert open_picture(saved(photo, format, exif=exif)).size == (40, 30)


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (6, 4), colour) for colour in (RED, GREEN, BLUE)]
    for format in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        opened = open_picture(saved(frames[0], format, save_all=True, append_images=frames[1:], **options))
        assert pixels(opened) == [list(RED)] * 24 and opened.info == {"animated": True}, format


def test_what_follows_a_jpegs_end_is_not_counted_as_layers():
    assert open_picture(saved(photo, "JPEG") + film).size == photo.size and open_picture(layered(9)).size == photo.size


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 64), (4000, 4000)])
def test_odd_but_allowed_sizes(size):
    opened = open_picture(saved(Image.new("L", size, 9), "PNG"))
    assert opened.size == size and opened.getpixel((0, 0)) == (9, 9, 9)


def test_the_picture_given_is_left_as_it_was():
    given = Image.new("RGB", (4, 4), RED)
    given.info["note"] = "mine"
    opened = open_picture(given)
    opened.putpixel((0, 0), BLUE)
    assert given.getpixel((0, 0)) == RED and given.info == {"note": "mine"} and opened.info == {}


@pytest.mark.parametrize("name", [name for name, (source, message) in REFUSED.items()
                                  if message == TOO_LARGE and isinstance(source, bytes)])
def test_large_pictures_are_refused_before_a_pixel_is_decoded(name, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UserError, match=TOO_LARGE):
        open_picture(REFUSED[name][0])


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_phones_photo_is_decoded_at_half_its_sides(options, monkeypatch):
    """24 million pixels, held sideways as phones do."""
    levels = np.random.default_rng(1).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    whole = Image.fromarray(levels).resize((5712, 4284), Image.Resampling.BICUBIC)
    exif, decoded, load = Image.Exif(), [], ImageFile.ImageFile.load
    exif[0x0112] = 6
    file = saved(whole, "JPEG", quality=95, exif=exif, **options)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: (decoded.append(self.size), load(self))[1])
    opened = open_picture(file)
    assert set(decoded) == {(2856, 2142)} and opened.size == (2142, 2856) and opened.info == {"given": (4284, 5712)}
    expected = whole.transpose(Image.Transpose.ROTATE_270).resize((51, 68), Image.Resampling.BOX)
    assert np.abs(np.subtract(opened.resize((51, 68), Image.Resampling.BOX), expected, dtype=int)).max() <= 3


@pytest.fixture
def smooth(monkeypatch) -> Image.Image:
    """90 x 60 pixels whose neighbours differ little, as in a photo: here that is too much."""
    monkeypatch.setattr(images, "KEPT_PIXELS", 2_000)
    levels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((90, 60), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kind, mode", [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("MPO", "RGB"), ("WEBP", "RGB"), ("BMP", "RGB"), ("GIF", "P"),
                                        ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "I;16"), ("PNG", "1")])
def test_what_a_model_sees_of_a_picture_that_was_made_smaller_is_the_same(smooth, monkeypatch, kind, mode):
    picture = Image.fromarray(np.array(smooth.convert("L")).astype("uint16") * 257) if mode == "I;16" else smooth.convert(mode)
    data = saved(picture, kind, **({"save_all": True, "append_images": [picture]} if kind == "MPO" else {}))
    found = open_picture(data)
    assert found.size == (45, 30) and found.mode == "RGB" and found.info["given"] == (90, 60)
    monkeypatch.setattr(images, "KEPT_PIXELS", 16_000_000)
    seen, expected = (np.asarray(image.resize((15, 10), Image.Resampling.BILINEAR), int) for image in (found, open_picture(data)))
    assert np.abs(seen - expected).max() <= (16 if mode in ("1", "P") else 4)  # of 255; where few colours make patterns the two ways of averaging differ more


def test_a_colour_that_is_not_to_be_seen_is_not_mixed_in(smooth):
    stripes = np.zeros((60, 90, 3), np.uint8)
    stripes[:, ::2] = RED
    opened = open_picture(saved(Image.fromarray(stripes), "PNG", transparency=RED))
    assert set(map(tuple, pixels(opened))) <= {(127, 127, 127), (128, 128, 128)}


def test_a_large_picture_that_is_damaged_and_one_that_was_given_open(smooth):
    with pytest.raises(UserError, match=DAMAGED):
        open_picture(saved(smooth, "PNG")[:-400])
    file = Image.open(BytesIO(saved(smooth, "JPEG")))
    assert open_picture(file).size == (45, 30) and file.size == (90, 60)
