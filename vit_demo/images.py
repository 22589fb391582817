"""An upload -> an upright RGB picture, or a refusal that says what to do."""

import math
import re
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile

from vit_demo.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
OWN_FORMATS = (*FORMATS, "TIFF")  # of one's own files: a stranger's could make a reader of so many kinds do anything
KEPT_PIXELS = 16_000_000  # a picture of more is made smaller: its sides stay far longer than those that a model sees
MOST_PIXELS = 25_000_000  # of a file that is decoded whole, which takes up to 16 bytes a pixel: 400 MB
MOST_SCANS = 100  # of a JPEG that comes sharper and sharper: each is a pass over all of it, and a file may hold 100,000
MOST_OF_JPEG = 52_000_000  # decoded at half its sides; one that is sent in several scans takes 7 bytes a pixel all the same: 360 MB
BYTES_A_PIXEL = 4  # a file of more is no picture, even without compression
MOST_READS = 20_000  # of a file's header: some 7,000 notes of a JPEG or PNG, 10,000 blocks of a GIF's comment, which Pillow adds up one by one
MOST_EXIF = 65_536  # bytes, as many as fit into a JPEG's segment: each of its notes may be all of it, which takes the square of that at worst
RUN_LENGTHS = (1, 2)  # the compressions of a BMP that Pillow unpacks in Python: 4 bytes may stand for 255 rows
# Of a JPEG, the markers that say how long their segment is, and its end; libjpeg passes over all others (RST, TEM, what is below C0) as
# it does over bytes that are no marker, and a second start is an error to it. In compressed data there is none.
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
START, START_OF_SCAN, END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
EXIF, MORE_PICTURES = re.compile(rb"\xff\xe1..Exif\0\0", re.DOTALL), re.compile(rb"\xff\xe2..MPF\0", re.DOTALL)  # segments of a JPEG
TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
         6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}  # by what Exif calls the orientation
# What Pillow's readers raise for files that are cut short, scrambled or made to hurt.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError,
          NotImplementedError, struct.error, zlib.error)

TOO_MUCH_BESIDE = "this picture carries too much text or too large a colour profile: save it again without them"
UNREADABLE = "this is not a readable picture: use PNG, JPEG, WebP, BMP or GIF"


def open_picture(source: str | Path | bytes | Image.Image | None, most_pixels: int | None = None, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """RGB, upright, of at most 16 million pixels: the first frame, on white where it is see-through, 16-bit greys
    scaled to 8. `info["animated"]` is set when there were more frames, `info["given"]` to the size before it was made smaller.
    most_pixels: of the file, instead of what a visitor's may have."""
    if source is None:
        raise UserError("choose or upload a picture first")
    image = source if isinstance(source, Image.Image) else _open(source, most_pixels or MOST_PIXELS, formats)
    given, times = image.size, _times_too_long(image)
    _refuse_large(image, most_pixels)
    try:
        animated = getattr(image, "is_animated", False)
        if image is not source and times > 1:
            image.draft(None, (image.width // times, image.height // times))  # a JPEG is then decoded at that size
        image.load()
        _refuse_large(image, most_pixels)  # a GIF's first frame may be larger than its header says
        smaller = _made_smaller(image)
    except BROKEN as error:
        raise _broken(error) from error
    picture = _to_rgb(_upright(smaller))
    picture.info = {"animated": True} if animated else {}
    if smaller.size != given:
        picture.info["given"] = given if picture.size == smaller.size else given[::-1]
    return picture


def _open(source: str | Path | bytes, most_pixels: int, formats: tuple[str, ...]) -> Image.Image:
    """Decodes the header alone; the pixels come with load()."""
    if not isinstance(source, (str, Path, bytes)):
        raise UserError("a picture is a file's name, its bytes or a PIL image")
    try:
        size, most = len(source) if isinstance(source, bytes) else Path(source).stat().st_size, BYTES_A_PIXEL * most_pixels
        if size > most:
            raise UserError(f"this file is {size / 1e6:.0f} MB; the limit is {most / 1e6:.0f} MB: make it smaller")
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        file = _File(_with_one_exif(data) if data.startswith(START) else data)
        image = Image.open(file, formats=formats)
        if isinstance(image, GifImageFile):
            file.reads_left += 2 * _blocks(data, image.tile[0].offset)  # to pass over its first frame
            image.is_animated  # noqa: B018 (asks for the header of the second frame, and keeps the answer)
        file.reads_left = math.inf
        if isinstance(image, JpegImageFile) and _scans(data) > MOST_SCANS:
            raise UserError("this JPEG is built of too many layers to be read in time; save it again")
        if image.format == "BMP" and image.info["compression"] in RUN_LENGTHS:
            raise UserError("this BMP is compressed, and only uncompressed ones are read here: save it again without compression, or as PNG")
        return image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"this picture is far too large; the limit is {most_pixels / 1e6:.0f} million pixels: "
                        "make it smaller") from None
    except FileNotFoundError:
        raise UserError(f"there is no picture {Path(source).name}; check its name") from None
    except (UnidentifiedImageError, IsADirectoryError, PermissionError) as error:
        raise UserError(UNREADABLE) from error
    except BROKEN as error:
        raise _broken(error) from error


class _File(BytesIO):
    """Ends the reading of a header that goes on and on."""

    reads_left: float = MOST_READS

    def read(self, size: int | None = -1) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise UserError(TOO_MUCH_BESIDE)
        return super().read(size)


def _with_one_exif(jpeg: bytes) -> bytes:
    """Of several such segments Pillow would make one, of any size, and unpack it; and unpack the list of a file's other pictures. Both
    become segments that say nothing to it."""
    first = EXIF.search(jpeg)
    end = first.end() if first else 0
    one = jpeg[:end] + EXIF.sub(_unread, jpeg[end:]) if EXIF.search(jpeg, end) else jpeg
    return MORE_PICTURES.sub(_unread, one)


def _unread(segment: re.Match[bytes]) -> bytes:
    return b"\xff\xe5" + segment[0][2:]  # APP5, which means nothing


def _blocks(gif: bytes, at: int) -> int:
    """How many blocks a frame's data has: each begins with its length, and an empty one ends them."""
    count = 0
    while at < len(gif) and gif[at]:
        at, count = at + gif[at] + 1, count + 1
    return count


def _scans(jpeg: bytes) -> int:
    """Up to the picture's end: telephones append films."""
    found, at = 0, 2
    while (marker := MARKER.search(jpeg, at)) and marker[0] != END:
        found += marker[0] == START_OF_SCAN
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")  # over what the segment says, which may hold anything
    return found


def _broken(error: Exception) -> UserError:
    if "MAX_TEXT" in str(error):  # Pillow's bound on what a PNG's compressed text or colour profile unpacks to
        return UserError(TOO_MUCH_BESIDE)
    return UserError("this picture is damaged or incomplete: save or download it again")


def _refuse_large(image: Image.Image, most_pixels: int | None) -> None:
    photo = isinstance(image, JpegImageFile) and image.mode != "CMYK"
    most = most_pixels or (MOST_OF_JPEG if photo else MOST_PIXELS)
    if image.width * image.height > most:
        raise UserError(f"this picture is {image.width}x{image.height} pixels; the limit is {most / 1e6:.0f} million: make it smaller")


def _times_too_long(image: Image.Image) -> int:
    """By what its sides are to be shortened: 1, 2, 4 or 8, as a JPEG can be decoded."""
    times = 1
    while image.width * image.height > KEPT_PIXELS * times ** 2:
        times *= 2
    return times


def _made_smaller(image: Image.Image) -> Image.Image:
    times = _times_too_long(image)
    if times == 1:
        return image
    if image.mode in ("1", "P") or image.mode in ("L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA")  # or Pillow would drop pixels, or mix in a colour that is not to be seen
    return image.resize((-(-image.width // times), -(-image.height // times)), Image.Resampling.BOX)


def _upright(image: Image.Image) -> Image.Image:
    """A turned copy. What is noted of which way is up may be broken, or too much to be read: no reason to refuse the picture."""
    noted = max(len(image.info.get("exif", b"")), len(image.info.get("Raw profile type exif", "")) // 2)  # the latter in hexadecimal
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation)) if noted <= MOST_EXIF else None
    except BROKEN:
        turn = None
    return image.copy() if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _scale_to_bytes(image)
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            picture = Image.new("RGB", image.size, "white")
            picture.paste(image, mask=image.getchannel("A"))
            return picture
        return image if image.mode == "RGB" else image.convert("RGB")
    except BROKEN as error:
        raise UserError(f"pictures of the kind {image.mode} cannot be shown here: save it as RGB") from error


def _scale_to_bytes(image: Image.Image) -> Image.Image:
    """Greys of 16 or more bits, or of floats, to 8 bits: convert() would cut all above 255 off as white."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    if image.mode == "F":
        scale = 255 if values.max() <= 1 else 1
    else:  # mode I says nothing of its range: it holds either bytes or 16 bits
        scale = 1 if image.mode == "I" and values.max() <= 255 else 255 / 65535
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))
