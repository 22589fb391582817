"""Tiny labelled datasets on disk, in the layouts that people have, and pictures that a tiny model can tell apart."""

import io
from pathlib import Path

import datasets
import torch
from PIL import Image

NAMES = ("red", "green", "blue")


def coloured(label: int, number: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    """A picture of noise, brightest in the channel of its label."""
    width, height = size
    generator = torch.Generator().manual_seed(1000 * label + number)
    levels = torch.randint(0, 120, (height, width, 3), dtype=torch.uint8, generator=generator)
    levels[..., label % 3] += 100
    return Image.fromarray(levels.numpy())


def png(picture: Image.Image) -> bytes:
    held = io.BytesIO()
    picture.save(held, "PNG")
    return held.getvalue()


def rows(count: int, start: int = 0, names=NAMES, size=(8, 8)) -> tuple[list[bytes], list[int]]:
    """PNG bytes and labels, classes in turn."""
    labels = [number % len(names) for number in range(start, start + count)]
    return [png(coloured(label, start + number, size)) for number, label in enumerate(labels)], labels


def write_parquet(folder: Path, columns: dict[str, dict], features: dict) -> Path:
    """One parquet file a split, with the features that load_dataset reads back. columns: split -> column -> values."""
    for split, values in columns.items():
        table = datasets.Dataset.from_dict(values, features=datasets.Features(features))
        (folder / "data").mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def parquet_dataset(folder: Path, train: int = 48, test: int = 12, names=NAMES, size=(8, 8), image="img", label="label") -> Path:
    """Pictures and class labels, as on the Hub."""
    splits = {"train": rows(train, 0, names, size)}
    if test:
        splits["test"] = rows(test, train, names, size)
    columns = {split: {image: [{"bytes": data, "path": None} for data in pictures], label: labels} for split, (pictures, labels) in splits.items()}
    return write_parquet(folder, columns, {image: datasets.Image(), label: datasets.ClassLabel(names=list(names))})


def image_folder(folder: Path, count: int = 12, names=NAMES, size=lambda number: (8, 8)) -> Path:
    """One folder of PNG files a class."""
    for number in range(count):
        label = number % len(names)
        place = folder / names[label]
        place.mkdir(parents=True, exist_ok=True)
        coloured(label, number, size(number)).save(place / f"{number:03d}.png")
    return folder
