"""Chapter 1: from the file to the numbers that the model is given."""

from vit_demo.chapters.scene import Look, live, mono, percent, pixel_constants, pixels, sizes, snippet, whole
from vit_demo.draw import data_uri

NAME = "picture"
TITLE = "What does the model get to see?"


def station(classifier) -> str:
    height, width = sizes(classifier)[0]
    return f"{height}×{width}×3"


def scene(look: Look) -> dict:
    image, (height, width) = look.trace.image, look.size
    scale, mean, std = pixel_constants(look.classifier.processor)
    resized = image.size != (width, height)
    kept = height * width / (image.width * image.height)
    squashed = abs(image.width * height / (image.height * width) - 1) > 0.02
    cut = look.classifier.processor.do_center_crop
    story = (
        f"Your file has {mono(f'{image.width} × {image.height}')} pixels"
        + (f"; the model was made for {mono(f'{width} × {height}')}, so the picture is resized first"
           + (", and what lies outside of its middle is cut off. " if cut else (" and squashed into that shape" if squashed else "")
              + (f", which leaves {mono(percent(kept))} of its pixels. " if kept < 1 else ". ")) if resized
           else ", just what this model was made for. ")
        + f"Each pixel is three numbers from 0 to 255, red, green and blue, that are divided by "
        f"{mono(f'{1 / scale:.0f}')}, then shifted and stretched so that typical values lie around 0. "
        f"These {mono(whole(3 * height * width))} numbers are all that the model ever knows of your picture.")
    row, column = (look.patch * place for place in divmod(look.middle, look.trace.grid[1]))  # where the chosen patch begins
    equation = (
        f"x = (byte ÷ {1 / scale:.0f} − mean) ÷ std<br>"
        f"red of pixel {live('pixel', kind='')}: ({live('byte')} ÷ {1 / scale:.0f} − {mean[0]:g}) ÷ {std[0]:g} = "
        f"{live('value')}")
    body = f"""
row, column = {row}, {column}
answer = pixels[0, 0, row, column].item()  # red
"""
    return {
        "story": story, "view": "picture", "equation": equation,
        "attempt": "upload a photo of your own, then look at the right-hand picture from far away. "
                   "Can <em>you</em> still tell what it is? The model has no more than that.",
        "data": {
            "original": data_uri(image, lossless=max(image.size) <= 64), "size": [image.width, image.height],
            "pixel": [row, column], **pixels(look),
        },
        "check": {"code": snippet(look, body), "value": look.trace.pixel_values[0, row, column].item(),
                  "says": f"The red number of the pixel in row {row}, column {column}, after resizing and normalising."},
    }
