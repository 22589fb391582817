"""open_picture and small files that would take much: compression in Python, hidden layers, notes within notes, headers without end."""

import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.test_images import (
    GREY,
    ROWS,
    TOO_MUCH_TEXT,
    layered,
    photo,
    pixels,
    png,
    saved,
)
from vit_demo.errors import UserError
from vit_demo.images import MOST_READS, open_picture

LAYERS, SCAN = "built of too many layers", b"\xff\xda"


def bmp(width: int, height: int, depth: int, compression: int, data: bytes, masks: bytes = b"") -> bytes:
    palette = bytes(4 << depth) if depth <= 8 else b""
    start = 54 + len(masks) + len(palette)
    return (b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
            + struct.pack("<IiiHHIIiiII", 40, width, height, 1, depth, compression, len(data), 0, 0, 0, 0) + masks + palette + data)


@pytest.mark.parametrize("depth, compression", [(8, 1), (4, 2)])
def test_a_compressed_bmp_is_refused_before_a_pixel_is_decoded(depth, compression, monkeypatch):
    """Of 8 million pixels in a row, and 4 bytes that stand for 255 rows."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for size in [(8_000_000, 1), (40, 30)]:
        with pytest.raises(UserError, match="this BMP is compressed, .*: save it again without compression, or as PNG"):
            open_picture(bmp(*size, depth, compression, b"\0\2\xff\xff"))


def test_a_bmp_that_is_not_compressed_opens():
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    assert pixels(open_picture(bmp(2, 1, 16, 3, struct.pack("<HH", 0xF800, 0xFFFF), masks))) == [[255, 0, 0], [255, 255, 255]]
    for picture in (photo.convert("1"), photo.convert("L"), photo.quantize(16), photo, photo.convert("RGBA")):
        assert pixels(open_picture(saved(picture, "BMP"))) == pixels(picture.convert("RGB"))


def between_scans(jpeg: bytes, what: bytes) -> bytes:
    """Before each but the first: up to there Pillow reads the file itself, and is stricter."""
    first = jpeg.index(SCAN) + 2
    return jpeg[:first] + jpeg[first:].replace(SCAN, what + SCAN)


# What libjpeg passes over, each before a marker that says its length: TEM, a restart, a filled TEM, bytes that are none.
@pytest.mark.parametrize("what", [b"\xff\x01", b"\xff\xd3", b"\xff\xff\xff\x01", b"\0\xff\0", b"\xff\xff\xff"])
def test_layers_behind_what_has_no_length_are_decoded_and_counted(what):
    few, many = layered(5), layered(101)
    assert pixels(open_picture(between_scans(few, what))) == pixels(open_picture(few))
    with pytest.raises(UserError, match=LAYERS):
        open_picture(between_scans(many, what))


def test_layers_behind_a_lost_restart_are_counted():
    """In the place of a restart libjpeg passes over what would be an error elsewhere, and goes on at the next marker."""
    whole = saved(photo, "JPEG", progressive=True, restart_marker_rows=1)
    lost = whole.replace(b"\xff\xd0", b"\xff\x02")
    assert lost.count(b"\xff\x02") > 5
    assert pixels(open_picture(lost))[: 6 * 40] == pixels(open_picture(whole))[: 6 * 40]  # all layers of what comes before the restart
    last = lost.rindex(SCAN)
    with pytest.raises(UserError, match=LAYERS):
        open_picture(lost[:last] + 101 * lost[last:-2] + lost[last:])


def test_scans_within_a_segment_are_none():
    comment = b"\xff\xfe" + struct.pack(">H", 602) + 300 * SCAN
    assert open_picture(saved(photo, "JPEG").replace(b"\xff\xdb", comment + b"\xff\xdb", 1)).size == photo.size


def notes(count: int, kind: int, size: int) -> bytes:
    """Exif whose every note is all of it; `size`: bytes of one thing of that kind."""
    end = 14 + 12 * count
    return b"MM\0\x2a" + struct.pack(">LH", 8, count) + b"".join(struct.pack(">HHLL", n, kind, (end - 8) // size, 8) for n in range(count)) + bytes(4)


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 255, marker, len(data) + 2) + data


jpeg = saved(photo, "JPEG")
nested = notes(6000, 7, 1)  # 72 kB that unpack to 430 MB
NESTED = {
    "png": png(*GREY, ROWS, (b"eXIf", nested)),
    "png, after its pixels": png(*GREY, ROWS, after=((b"eXIf", nested),)),
    "png, in words": png(*GREY, ROWS, (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  72014\n" + nested.hex().encode()))),
    "webp": saved(photo, "WEBP", exif=nested),
    "jpeg, in two": jpeg[:2] + segment(0xE1, b"Exif\0\0" + nested[:40_000]) + segment(0xE1, b"Exif\0\0" + nested[40_000:]) + jpeg[2:],
    "jpeg, a list of pictures": jpeg[:2] + segment(0xE2, b"MPF\0" + notes(2000, 3, 2)) + jpeg[2:],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NESTED)
def test_notes_within_notes_are_not_unpacked(name):
    tracemalloc.start()
    try:
        assert open_picture(NESTED[name]).size in ((2, 2), photo.size)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


def test_the_first_exif_tells_what_is_up_and_another_does_not():
    def turned(orientation: int) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = orientation
        return segment(0xE1, exif.tobytes())

    for segments in (turned(6), turned(6) + turned(3), segment(0xE2, b"MPF\0") + turned(6)):
        assert open_picture(jpeg[:2] + segments + jpeg[2:]).size == (30, 40)
    assert open_picture(jpeg[:2] + turned(3) + turned(6) + jpeg[2:]).size == (40, 30)


def gif(*frames: int) -> bytes:
    """Of one pixel each, after a comment of so many blocks."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    told = b"".join(b"!\xfe" + blocks * b"\1x" + b"\0" + frame for blocks in frames)
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + told + b";"


@pytest.mark.parametrize("data", [gif(MOST_READS), gif(0, MOST_READS), jpeg[:2] + MOST_READS * segment(0xE5, b"") + jpeg[2:],
                                  png(*GREY, ROWS, *MOST_READS * [(b"abCd", b"")])], ids=["gif", "second frame", "jpeg", "png"])
def test_a_header_without_end_is_refused(data):
    with pytest.raises(UserError, match=TOO_MUCH_TEXT):
        open_picture(data)


def test_a_frame_of_many_blocks_and_a_long_comment_open():
    assert open_picture(gif(2000)).info == {} and open_picture(gif(2000, 2000)).info == {"animated": True}
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 2000), dtype=np.uint8))  # 12,000 blocks or more
    data = BytesIO()
    noise.save(data, "GIF", save_all=True, append_images=[noise.rotate(180)])
    assert len(data.getvalue()) > 2 * 255 * MOST_READS / 2
    opened = open_picture(data.getvalue())
    assert opened.info == {"animated": True} and opened.convert("L").tobytes() == noise.tobytes()
