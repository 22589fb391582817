"""What a chapter is given (a Look) and the words and numbers it makes of it."""

import json
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from html import escape
from unicodedata import bidirectional

import torch
from torch import Tensor

from vit_demo.classifier import BUNDLED, Classifier
from vit_demo.draw import data_uri, pack, picture
from vit_demo.explain.patches import unnormalise
from vit_demo.hub_model import patch_grid
from vit_demo.trace import Trace

MOST_RUNS = 20  # that a model went on from, of which anything is told
UPLOAD = "your-picture.png"  # what a picture of the visitor's own is called
MINUS, SPACE = "−", "\u00a0"  # a number and its unit stay on one line


@dataclass(frozen=True, eq=False)
class Look:
    """One picture seen by one model, and the layer and head that are looked at (both counted from 0; None: none is chosen)."""

    classifier: Classifier
    trace: Trace
    layer: int | None = None
    head: int | None = None
    picture_file: str = UPLOAD  # what a reader's own code opens
    truth: str | None = None  # the true label, where it is known

    @property
    def model(self):
        return self.classifier.viewing

    @property
    def config(self):
        return self.classifier.model.config

    @cached_property
    def probabilities(self) -> Tensor:
        """(K,)"""
        return self.trace.logits.softmax(-1)

    @cached_property
    def ranked(self) -> list[int]:
        """Class numbers, likeliest first."""
        return self.trace.logits.argsort(descending=True, stable=True).tolist()

    def top(self, logits: Tensor) -> list[list]:
        """Logits (K,) -> [[class, its probability]] of the three likeliest."""
        shares = logits.softmax(-1).topk(min(3, len(logits)))
        return [[self.classifier.labels[i], p] for i, p in zip(shares.indices.tolist(), shares.values.tolist(), strict=True)]

    def label(self, index: int) -> str:
        """A class name that may stand inside HTML; one that is written from the right keeps to itself."""
        label = escape(self.classifier.labels[index])
        return f"<bdi>{label}</bdi>" if any(bidirectional(letter) in ("R", "AL") for letter in label) else label

    @property
    def patch(self) -> int:
        """Patch side in pixels of the model's input."""
        return self.trace.patches.shape[-1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the model's input in pixels."""
        return tuple(self.trace.pixel_values.shape[1:])

    @property
    def middle(self) -> int:
        """The patch that is chosen until the visitor chooses another; web/vit.js chooses the same one."""
        rows, cols = self.trace.grid
        return int(rows * 0.3) * cols + cols // 2

    @cached_property
    def seen(self) -> Tensor:
        """(3,height,width) uint8: the picture as the model sees it, normalisation undone."""
        scale, mean, std = pixel_constants(self.classifier.processor)
        return (unnormalise(self.trace.pixel_values, mean, std) / scale).round().clamp(0, 255).to(torch.uint8)

    @cached_property
    def shown(self) -> dict:
        """The picture with its grid, as every view draws it."""
        rows, cols = self.trace.grid
        return {"src": data_uri(picture(self.seen)), "rows": rows, "cols": cols}


def earlier(metrics: dict) -> list[dict]:
    """The runs whose weights a model went on from, oldest first; a stranger's metrics.json may hold anything."""
    runs = metrics.get("earlier")
    return [run for run in runs[:MOST_RUNS] if isinstance(run, dict)] if isinstance(runs, list) else []


def sizes(classifier) -> tuple[tuple[int, int], tuple[int, int], int]:
    """(height, width) of the model's input, (rows, columns) of its patches, and the patches' side."""
    config = classifier.model.config
    rows, cols = patch_grid(config)
    return (rows * config.patch_size, cols * config.patch_size), (rows, cols), config.patch_size


def pixel_constants(processor) -> tuple[float, list[float], list[float]]:
    """The processor's rescale factor, mean and standard deviation (one a channel); 1, 0, 1 where it does not use them."""
    def three(value) -> list[float]:
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        return values * 3 if len(values) == 1 else values

    scale = processor.rescale_factor if processor.do_rescale else 1.0
    mean = three(processor.image_mean) if processor.do_normalize else [0.0] * 3
    std = three(processor.image_std) if processor.do_normalize else [1.0] * 3
    return scale, mean, std


def pixels(look: Look) -> dict:
    """The picture for a view that reads its numbers: the bytes too, and how they were normalised."""
    scale, mean, std = pixel_constants(look.classifier.processor)
    height, width = look.size
    return {**look.shown, "patch": look.patch, "height": height, "width": width,
            "bytes": pack(look.seen, "u8"), "scale": scale, "mean": mean, "std": std}


def percent(share: float, exact: bool = False) -> str:
    """At the precision that matters: 99.6 %, 31 %, 2.4 %, < 0.1 %. The same rule as in web/vit.js. `exact`: 94.12 %."""
    value = 100 * share
    if exact:
        return f"{value:.2f}{SPACE}%"
    if value >= 99.95:
        return f"100{SPACE}%"
    if value >= 0.05:
        step = Decimal(1) if 9.95 <= value < 99.5 else Decimal("0.1")
        return f"{Decimal(value).quantize(step, ROUND_HALF_UP)}{SPACE}%"  # as toFixed rounds
    return f"<{SPACE}0.1{SPACE}%" if value > 0 else f"0{SPACE}%"


def number(value: float, digits: int = 2) -> str:
    """With a true minus, and none before a zero. The same rule as in web/vit.js."""
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS if float(text) else "")


def a(label: str) -> str:
    """With its article: a cat, an airplane. The same rule as in web/vit.js."""
    return f"{'an' if label[:1].lower() in tuple('aeiou') else 'a'} {label}"


def called(model: str) -> str:
    """A model's name in a sentence."""
    return "the bundled model" if model == "bundled" else model


def whole(value: int) -> str:
    return f"{value:,}"


def many(count, what: str) -> str:
    """1 layer, 2 layers."""
    return f"{count} {what}{'' if str(count) == '1' else 's'}"


def mono(text) -> str:
    return f'<span class="mono">{text}</span>'


def live(name: str, kind: str = "b") -> str:
    """A number that the browser fills in, and renews when another patch, layer or head is chosen."""
    tag, tone = {"b": ("b", "live"), "": ("span", "mono"), "w": ("span", "")}[kind]
    return f'<{tag} class="{tone}" data-live="{name}"></{tag}>'


OWN = "folder"  # the variable that names a folder of which only its owner knows where it lies
OPENING = """\
import torch
{opener}
from transformers import ViTForImageClassification, ViTImageProcessorPil

model = ViTForImageClassification.from_pretrained(
    {model}, attn_implementation="eager", dtype=torch.float32)
processor = ViTImageProcessorPil.from_pretrained({model})
picture = {picture}
pixels = processor(picture, return_tensors="pt").pixel_values
"""


def snippet(look: Look, body: str) -> str:
    """Plain transformers code that opens this model and this picture, then `body`, whose last value is `answer`."""
    source = look.classifier
    model = f'"{source.name}", revision="{source.revision}"' if source.revision else folder_of(source)
    own = f"folder = {json.dumps(source.name, ensure_ascii=False)}  # where the model's folder lies on your machine\n" if model == OWN else ""
    if look.picture_file == UPLOAD:
        opener, picture = "from vit_demo.images import open_picture", f'open_picture("{UPLOAD}")  # upright, RGB, on white'
    else:
        opener, picture = "from PIL import Image", f'Image.open("{look.picture_file}").convert("RGB")'
    return own + OPENING.format(model=model, opener=opener, picture=picture) + body.strip() + "\nprint(answer)\n"


def folder_of(classifier: Classifier, inside: str = "") -> str:
    """Of a model that is not from the Hub, and what lies in it, as a reader's own code names it."""
    if classifier.files.parent == BUNDLED.parent:
        return f'"vit_demo/{classifier.files.name}{inside}"'
    return f'{OWN} + "{inside}"' if inside else OWN
