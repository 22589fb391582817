"""Encoded pictures: opened one by one when asked for, checked all at once, or decoded by worker processes in a given order.

Legend: M pictures, B a batch of them, H W pixels.
"""

import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy
import torch
from PIL import Image

from vit_demo import images
from vit_demo.errors import UserError

CHUNK = 64  # rows read at a time
MOST_PIXELS = 89_000_000  # of a file to learn from; a little more, and Pillow warns of an attack


@dataclass(frozen=True, eq=False)
class Files:
    """M pictures of one split. `files[i]` and `files[i:j]` are PIL pictures as they were saved; `feed` makes tensors of one size."""

    table: object  # the dataset with its one column of {"bytes", "path"}
    rows: list[int]  # (M,) which rows of it
    split: str
    shape: tuple[int, int] | None = None  # (H,W) of `feed`; other sizes are resized
    resample: int = Image.Resampling.BILINEAR
    workers: int = 0
    device: torch.device = torch.device("cpu")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which):
        if isinstance(which, slice):
            return [self.open(row) for row in self.rows[which]]
        return self.open(self.rows[which])

    def take(self, numbers) -> "Files":
        return replace(self, rows=[self.rows[number] for number in numbers])

    def open(self, row: int) -> Image.Image:
        """RGB and upright, or a UserError that names the row."""
        [[record]] = self.table[row : row + 1].values()
        return self.decode(row, record)

    def decode(self, row: int, record: dict | None) -> Image.Image:
        path = (record or {}).get("path")
        try:
            if record is None or not (record["bytes"] or path):
                raise UserError("there is no picture: remove such rows first")
            return images.open_picture(record["bytes"] or path, MOST_PIXELS, images.OWN_FORMATS)
        except UserError as error:
            raise UserError(f"{self.split} row {row}{f' ({path})' if path else ''}: {error}") from None

    def opened(self) -> Iterator[Image.Image | UserError]:
        """All rows in order, each with its picture or with what is wrong with it."""

        def attempt(row: int, record: dict | None):
            try:
                return self.decode(row, record)
            except UserError as error:
                return error

        with ThreadPoolExecutor(max(1, self.workers)) as pool:  # decoders and resizing leave the interpreter free
            for start in range(0, len(self.rows), CHUNK):
                rows = self.rows[start : start + CHUNK]
                [records] = self.table[rows].values()
                yield from pool.map(attempt, rows, records)

    def feed(self, requests: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Lists of picture numbers (B,) -> uint8 (B,3,H,W) on the device, decoded ahead by the workers."""
        loader = torch.utils.data.DataLoader(
            self, batch_sampler=(ids.tolist() for ids in requests), num_workers=self.workers, collate_fn=as_it_is,
            pin_memory=self.device.type == "cuda", worker_init_fn=leave_signals_alone,
            generator=torch.Generator())  # its own, so that no draw of the run shifts
        for pixels in loader:
            if isinstance(pixels, UserError):
                raise pixels
            yield pixels.to(self.device, non_blocking=self.device.type == "cuda")  # elsewhere it would be read after it is gone

    def __getitems__(self, numbers: list[int]) -> torch.Tensor | UserError:
        """What a worker makes of one request; an error travels as a value, so that its line arrives unchanged."""
        try:
            return torch.stack([to_tensor(self[number], self.shape, self.resample) for number in numbers])
        except UserError as error:
            return error


def leave_signals_alone(worker: int) -> None:
    """Ctrl-C is for the run: a worker that took over its handlers would answer too, and not end when it is told to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a job's end is told to all of its processes; the run still needs this one for its step
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def as_it_is(pixels):
    return pixels


def to_tensor(picture: Image.Image, shape: tuple[int, int] | None, resample: int) -> torch.Tensor:
    """PIL -> uint8 (3,H,W), resized to `shape` where it has another size."""
    if shape is not None and picture.size != shape[::-1]:
        picture = picture.resize(shape[::-1], resample)
    return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)
