"""An upload -> an upright RGB picture, or a refusal that says what to do."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vit_demo.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MOST_PIXELS = 16_000_000
MOST_BYTES = 64_000_000  # a picture of 16 MP without compression takes 48 MB
# What Pillow's readers raise for files that are cut short, scrambled or made to hurt.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError, OverflowError,
          NotImplementedError, struct.error, zlib.error)

UNREADABLE = "this is not a readable picture: use PNG, JPEG, WebP, BMP or GIF"


def open_picture(source: str | Path | bytes | Image.Image | None) -> Image.Image:
    """RGB, upright, of at most 16 million pixels: the first frame, on white where it is see-through, 16-bit greys
    scaled to 8. `info["animated"]` is set when there were more frames."""
    if source is None:
        raise UserError("choose or upload a picture first")
    image = source if isinstance(source, Image.Image) else _open(source)
    _refuse_large(image)
    try:
        animated = getattr(image, "is_animated", False)
        image.load()
    except BROKEN as error:
        raise _broken(error) from error
    _refuse_large(image)  # a GIF's first frame may be larger than its header says
    picture = _to_rgb(_upright(image))
    picture.info = {"animated": True} if animated else {}
    return picture


def _open(source: str | Path | bytes) -> Image.Image:
    """Reads the header alone; the pixels come with load()."""
    if not isinstance(source, (str, Path, bytes)):
        raise UserError("a picture is a file's name, its bytes or a PIL image")
    try:
        size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
        if size > MOST_BYTES:
            raise UserError(f"this file is {size / 1e6:.0f} MB; the limit is {MOST_BYTES / 1e6:.0f} MB: make it smaller")
        return Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"this picture is far too large; the limit is {MOST_PIXELS / 1e6:.0f} million pixels: "
                        "make it smaller") from None
    except FileNotFoundError:
        raise UserError(f"there is no picture {Path(source).name}; check its name") from None
    except (UnidentifiedImageError, IsADirectoryError, PermissionError) as error:
        raise UserError(UNREADABLE) from error
    except BROKEN as error:
        raise _broken(error) from error


def _broken(error: Exception) -> UserError:
    if "MAX_TEXT" in str(error):  # Pillow's bound on what a PNG's compressed text or colour profile unpacks to
        return UserError("this picture carries too much text or too large a colour profile: save it again without them")
    return UserError("this picture is damaged or incomplete: save or download it again")


def _refuse_large(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise UserError(f"this picture is {image.width}x{image.height} pixels; the limit is "
                        f"{MOST_PIXELS / 1e6:.0f} million: make it smaller")


def _upright(image: Image.Image) -> Image.Image:
    """A turned copy."""
    try:
        return ImageOps.exif_transpose(image)
    except BROKEN:  # a broken note on which way is up is no reason to refuse the picture
        return image.copy()


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
