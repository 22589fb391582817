"""Tensors and pictures -> what a browser takes: data addresses and packed numbers."""

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LONGEST_SHOWN = 512  # pixels a side; enough for a page, whatever was uploaded


def data_uri(image: Image.Image, lossless: bool = True) -> str:
    """A picture -> data:image/…, small ones exactly, large ones made smaller."""
    if max(image.size) > LONGEST_SHOWN:
        image = image.copy()
        image.thumbnail((LONGEST_SHOWN, LONGEST_SHOWN))
    file = io.BytesIO()
    if lossless:
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=88)
    kind = "png" if lossless else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def picture(values: Tensor) -> Image.Image:
    """(3,h,w) uint8 -> RGB picture"""
    return Image.fromarray(values.permute(1, 2, 0).contiguous().numpy())


def pack(values: Tensor, kind: str = "f32") -> dict:
    """A tensor -> base64 numbers with their shape. f32 is exact; u16 and u8 are even steps between the ends.

    u8 with values 0 to 255 in whole numbers (pixels) is exact too.
    """
    values = values.detach().contiguous()
    packed = {"kind": kind, "shape": list(values.shape)}
    if kind == "f32":
        raw = values.float().numpy().astype("<f4")
    else:
        top = {"u16": 65535, "u8": 255}[kind]
        if values.dtype == torch.uint8:
            low, span = 0.0, 255.0
        else:
            low = min(values.min().item(), 0.0)
            span = (values.max().item() - low) or 1.0
        raw = ((values.double() - low) * (top / span)).round().clamp(0, top).numpy().astype(f"<u{top.bit_length() // 8}")
        packed |= {"offset": low, "scale": span}
    return packed | {"data": base64.b64encode(raw.tobytes()).decode()}


def signed_colours(values: Tensor) -> Tensor:
    """(...,3,h,w) weights of either sign -> uint8 colours, mid grey at 0, the largest of all at full strength."""
    peak = values.abs().max().clamp(min=1e-12)
    return ((values / peak + 1) * 127.5).round().to(torch.uint8)


def plain(value):
    """The same with every packed tensor as nested lists of numbers, for readers that are no browser."""
    if isinstance(value, dict):
        return unpack(value).tolist() if value.keys() >= {"kind", "shape", "data"} else {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def unpack(packed: dict) -> np.ndarray:
    """What pack() was given, as exact as its kind, to 7 decimals."""
    raw = np.frombuffer(base64.b64decode(packed["data"]), {"f32": "<f4", "u16": "<u2", "u8": "u1"}[packed["kind"]]).reshape(packed["shape"])
    if packed["kind"] == "f32":
        return raw.astype(float).round(7)
    values = packed["offset"] + raw.astype(float) * (packed["scale"] / np.iinfo(raw.dtype).max)
    return values.round(7)
