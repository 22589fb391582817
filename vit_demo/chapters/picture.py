"""Chapter 1: from the file to the numbers that the model is given."""

from vit_demo.chapters.scene import MINUS, UPLOAD, Look, live, mono, percent, pixel_constants, pixels, sizes, snippet, whole
from vit_demo.draw import data_uri

NAME = "picture"
TITLE = "What does the model get to see?"


def station(classifier) -> str:
    height, width = sizes(classifier)[0]
    return f"{height}×{width}×3"


def scene(look: Look) -> dict:
    image, (height, width) = look.trace.image, look.size
    given = image.info.get("given", image.size)  # a large photo is made smaller as it is read
    read = "" if given == image.size else f", which this page reads as {mono(f'{image.width} × {image.height}')}"
    scale, mean, std = pixel_constants(look.classifier.processor)
    divisor = f"{1 / scale:.6g}"
    story = (
        f"{'Your file' if look.picture_file == UPLOAD else 'This sample'} has {mono(f'{given[0]} × {given[1]}')} pixels{read}{fitted(look)}. "
        f"Each pixel is three numbers from 0 to 255, red, green and blue{changed(scale, mean, std, divisor)}. "
        f"These {mono(whole(3 * height * width))} numbers are all that the model ever knows of your picture.")
    row, column = (look.patch * place for place in divmod(look.middle, look.trace.grid[1]))  # where the chosen patch begins
    equation = (
        f"x = (byte ÷ {divisor} − mean) ÷ std<br>"
        f"red of pixel {live('pixel', kind='')}: ({live('byte')} ÷ {divisor} − {mean[0]:g}) ÷ {std[0]:g} = "
        f"{live('value')}")
    body = f"""
row, column = {row}, {column}
answer = pixels[0, 0, row, column].item()  # red
"""
    return {
        "story": story, "view": "picture", "equation": equation,
        "attempt": "upload a photo of your own, then look from far away at what the model sees of it. "
                   "Can <em>you</em> still tell what it is? The model has no more than that.",
        "data": {
            "original": data_uri(image, lossless=max(image.size) <= 64), "size": list(given),
            "pixel": [row, column], **pixels(look),
        },
        "check": {"code": snippet(look, body), "value": look.trace.pixel_values[0, row, column].item(),
                  "says": f"The red number of the pixel in row {row}, column {column}, as the model is given it."},
    }


def fitted(look: Look) -> str:
    """How the file came to the model's size; told from what its processor makes of this picture."""
    image, (height, width) = look.trace.image, look.size
    rows, cols = look.classifier.processor(
        look.classifier.middle(image), do_center_crop=False, do_rescale=False, do_normalize=False, return_tensors="pt").pixel_values.shape[2:]
    cut, framed = rows > height or cols > width, rows < height or cols < width
    done = [word for word, so in (
        ("resized", (cols, rows) != image.size),
        ("squashed into another shape", abs(image.width * rows / (image.height * cols) - 1) > 0.02),
        ("cut down to its middle", cut), ("framed in black", framed)) if so]
    if not done:
        return ", just what this model was made for"
    given = image.info.get("given", image.size)
    kept = height * width / (given[0] * given[1])
    left = "" if cut or framed or kept >= 1 else f", which leaves {mono(percent(kept))} of its pixels"
    return (f"; the model was made for {mono(f'{width} × {height}')}, {'yet' if image.size == (width, height) else 'so'} the picture is "
            f"{' and '.join(filter(None, (', '.join(done[:-1]), done[-1])))}{left}")


def changed(scale: float, mean: list[float], std: list[float], divisor: str) -> str:
    """What becomes of the bytes, and between which ends they lie then."""
    done = [*([f"divided by {mono(divisor)}"] if scale != 1 else []), *(["shifted and stretched"] if any(mean) or set(std) != {1} else [])]
    ends = [(byte * scale - m) / s + 0.0 for byte in (0, 255) for m, s in zip(mean, std, strict=True)]
    low, high = (mono(f"{end:.3g}".replace("-", MINUS)) for end in (min(ends), max(ends)))
    return f", that are {', then '.join(done)}, which leaves them between {low} and {high}" if done else ""
