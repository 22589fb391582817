"""One look at every picture before the first step: unreadable ones are found, and those that fit are kept in memory.

Legend: M pictures, H W pixels.
"""

import torch
from PIL import Image
from tqdm.auto import tqdm

from training.files import Files, to_tensor
from training.report import picture_digest
from vit_demo.errors import UserError


def look_at_all(files: Files, labels: list[int], *, skip_bad: bool, progress: bool, keep=lambda picture: None) -> tuple[torch.Tensor, tuple[bytes, ...]]:
    """Decode every picture; `keep` is given each -> numbers of the readable ones, and their digests. Stops at a bad one unless skip_bad."""
    kept, digests = [], []
    bar = tqdm(files.opened(), total=len(files), desc=f"reading {files.split}", disable=not progress, unit=" pictures")
    for number, picture in enumerate(bar):
        if isinstance(picture, UserError):
            if not skip_bad:
                bar.close()
                raise UserError(f"{picture} (--skip-bad leaves such pictures out)")
            continue
        kept.append(number)
        digests.append(picture_digest(picture, labels[number]))
        keep(picture)
    if not kept:
        raise UserError(f"split {files.split!r}: not one picture could be read")
    if len(kept) < len(files) and progress:
        print(f"{files.split}: left out {len(files) - len(kept)} of {len(files)} pictures that could not be read")
    return torch.tensor(kept), tuple(digests)


class Holder:
    """Keeps pictures, none larger than size x size, up to a number of bytes; past it, only their shapes."""

    def __init__(self, size: int, resample: int, bound: float):
        self.size, self.resample, self.bound = size, resample, bound
        self.held: list[torch.Tensor] = []
        self.shapes: set[tuple[int, int]] = set()
        self.count = self.bytes = 0

    def __call__(self, picture: Image.Image) -> None:
        shape = (self.size, self.size) if max(picture.size) > self.size else picture.size[::-1]
        self.shapes.add(shape)
        self.count, self.bytes = self.count + 1, self.bytes + 3 * shape[0] * shape[1]
        if self.bytes > self.bound:
            self.held.clear()
        else:
            self.held.append(to_tensor(picture, shape, self.resample))

    @property
    def shape(self) -> tuple[int, int]:
        """(H,W) of all: their own where they have just one, otherwise size x size."""
        return next(iter(self.shapes)) if len(self.shapes) == 1 else (self.size, self.size)

    @property
    def gigabytes(self) -> float:
        return self.count * 3 * self.shape[0] * self.shape[1] / 1e9

    def stacked(self) -> torch.Tensor | None:
        """uint8 (M,3,H,W), or None when they are too many. Lets go of what it held."""
        if self.bytes > self.bound or self.gigabytes * 1e9 > self.bound:
            return None
        pixels = torch.empty(self.count, 3, *self.shape, dtype=torch.uint8)
        for number in reversed(range(self.count)):
            pixels[number] = fitted(self.held.pop(), self.shape, self.resample)
        return pixels


def fitted(pixels: torch.Tensor, shape: tuple[int, int], resample: int) -> torch.Tensor:
    """uint8 (3,H,W) -> the same at `shape`."""
    return pixels if pixels.shape[1:] == shape else to_tensor(Image.fromarray(pixels.permute(1, 2, 0).numpy()), shape, resample)
