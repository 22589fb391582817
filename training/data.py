"""Any picture dataset -> uint8 tensors on the device, or a stream where they do not fit; checked before the first step.

Batches come from one permutation seeded by (seed, epoch). Legend: M pictures, B a batch of them, H W pixels.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from PIL import Image

from training.files import Files
from training.hold_out import divide, held_out_by, mixed
from training.reading import Holder, look_at_all
from training.report import combined
from training.source import class_ids, find_columns, find_image_column, is_declared, known_ids, need_classes, open_dataset
from training.split_roles import about_validation_splits, split_roles
from vit_demo.errors import UserError

UNLABELLED = ("any picture",)  # the one class of pictures whose labels are not learned


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures and what they show. `pixels` are uint8 (M,3,H,W) in memory, or Files that are opened when asked for."""

    pixels: torch.Tensor | Files
    labels: torch.Tensor  # (M,) int64; all 0 where none are read
    class_names: tuple[str, ...]
    digests: tuple[bytes, ...] = ()  # of each picture as it was saved, for the fingerprint
    left_out: int = 0  # how many more there would be, could they be read

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of pixels and labels, the same in any order."""
        return combined(self.digests)

    def take(self, numbers: torch.Tensor) -> "Pictures":
        pixels = self.pixels.take(numbers.tolist()) if isinstance(self.pixels, Files) else self.pixels[numbers]
        return Pictures(pixels, self.labels[numbers], self.class_names, tuple(self.digests[n] for n in numbers.tolist()) if self.digests else ())

    def to(self, device: torch.device) -> "Pictures":
        """Tensors move; a stream is told where to bring its batches, and its labels stay with the order that it is read in."""
        if isinstance(self.pixels, Files):
            return replace(self, pixels=replace(self.pixels, device=device))
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))

    def feed(self, requests: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Lists of picture numbers (B,), which may be read far ahead -> uint8 (B,3,H,W) on the device."""
        return self.pixels.feed(requests) if isinstance(self.pixels, Files) else (self.pixels[ids] for ids in requests)


@dataclass(frozen=True, eq=False)
class Splits:
    """What a run learns from and is measured on."""

    train: Pictures
    validation: Pictures | None  # to choose on: --validation-images of the training pictures, or the data set's own validation split
    held_out: Pictures | None  # as saved: what the number at the end is measured on
    held_out_part: str  # "test"; "held_out", a tenth of the training pictures or the validation split, not chosen on; or those of "validation" again
    test_split: str | None  # the split that was measured on and not chosen on
    said: tuple[str, ...] = ()  # lines for the user
    validation_split: str | None = None  # the split that `validation` comes from, where it is one of its own
    held_out_by: str | None = None  # digest of all labels, where they decided which training pictures are held out; None: rows did

    @property
    def held_out_name(self) -> str:
        """What kind of number the last measure is: "test" or "validation"."""
        return "test" if self.held_out_part == "test" else "validation"

    @property
    def order(self) -> str:
        """SHA-256 of the pictures to learn from and to choose on, row by row: the steps of a run depend on which is where."""
        return hashlib.sha256(b"/".join(b"".join(pictures.digests) for pictures in (self.train, self.validation) if pictures is not None)).hexdigest()

    @property
    def whole(self) -> str:
        """Fingerprint of all that was read of the training split, held out or not."""
        others = ((self.validation, self.validation_split), (self.held_out, self.test_split or self.validation_split))
        parts = {self.train.digests, *(pictures.digests for pictures, own in others if pictures is not None and not own)}  # one may have two roles
        return combined(one for part in parts for one in part)

    def to(self, device: torch.device) -> "Splits":
        """The pictures of every step on the device, once; the held-out ones are measured through the app's processor."""
        validation = self.validation.to(device) if self.validation is not None else None
        return replace(self, train=self.train.to(device), validation=validation)


def encoded(dataset, split: str, column: str, rows: list[int], **more) -> Files:
    """Those rows of a split, their pictures not yet decoded."""
    import datasets

    return Files(dataset[split].select_columns([column]).cast_column(column, datasets.Image(decode=False)), rows, split, **more)


def labels_of(dataset, split: str, columns: tuple[str, str]) -> tuple[list, object]:
    """A split's label column as it stands, and its type."""
    missing = [name for name in columns if name not in dataset[split].features]
    if missing:
        raise UserError(f"split {split!r} has no column {missing[0]!r}: its columns are {', '.join(dataset[split].features)}")
    return dataset[split][columns[1]][:], dataset[split].features[columns[1]]


def checked(files: Files, labels: torch.Tensor, names: tuple[str, ...], **how) -> Pictures:
    """The readable pictures, still encoded."""
    kept, digests = look_at_all(files, labels.tolist(), **how)
    return Pictures(files.take(kept.tolist()), labels[kept], names, digests, len(files) - len(kept))


def classes_by_type(config, dataset) -> list[int] | None:
    """Labels that a fine-tune would find without being told their column: a pretraining holds out by them, and learns none."""
    try:
        return class_ids(*labels_of(dataset, config.train_split, find_columns(dataset[config.train_split].features, config.image_column)))[0]
    except UserError:
        return None


def most_resident(config, device: torch.device) -> float:
    """Bytes of pictures to keep: --resident-gb, but on a GPU at most half of what is free, for the model needs some too."""
    return min(config.resident_gb * 1e9, torch.cuda.mem_get_info(device)[0] / 2 if device.type == "cuda" else math.inf)


def load_splits(config, size: int, progress: bool = True, resample: int = Image.Resampling.BILINEAR, device: torch.device = torch.device("cpu")) -> Splits:
    """The run's pictures. `size` is what the model sees, `resample` the filter of its processor, `device` where they shall go.
    Where no classes are learned, the splits to choose and to measure on stay unread, and labels only say which pictures to hold out."""
    dataset = open_dataset(config.dataset, config.dataset_config, config.ANSWERS)
    test_split, validation_split, part = split_roles(config, dataset)
    learned = dataset[config.train_split]
    if config.ANSWERS:
        columns = find_columns(learned.features, config.image_column, config.label_column)
        labels, names = class_ids(*labels_of(dataset, config.train_split, columns))
        known = labels
    else:
        columns = (find_image_column(learned.features, config.image_column),)
        labels, names = [0] * len(learned), UNLABELLED
        known = classes_by_type(config, dataset)
    by, hold_out = known or labels, part == "held_out" and not test_split
    train_rows, *apart = divide(config, mixed(learned, by), by, hold_out)
    validation_rows, held_out_rows = apart
    if config.ANSWERS:
        need_classes([labels[row] for row in train_rows], names)

    def whole(split: str, **more) -> tuple[str, list[int], list[int]]:
        ids = known_ids(*labels_of(dataset, split, columns), names, is_declared(learned.features[columns[1]]), **more)
        return split, list(range(len(ids))), ids

    to_choose_on = whole(validation_split, chosen_on=validation_split) if validation_split else (config.train_split, validation_rows, labels)
    to_measure_on = whole(test_split) if test_split else (config.train_split, held_out_rows, labels)

    def read(split: str, rows: list[int], of: list[int], **keep) -> Pictures:
        files = encoded(dataset, split, columns[0], rows, resample=resample, workers=config.workers)
        return checked(files, torch.tensor([of[row] for row in rows]), names, skip_bad=config.skip_bad, progress=progress, **keep)

    holder = Holder(size, resample, most_resident(config, device))
    train = read(config.train_split, train_rows, labels, keep=holder)
    said = need_classes(train.labels.tolist(), names, set(labels)) if config.ANSWERS else ()
    chosen_on = read(*to_choose_on, keep=holder) if to_choose_on[1] else None
    train, validation, streamed = kept_or_streamed(train, chosen_on, holder, config)
    held_out = chosen_on if part == "validation" else read(*to_measure_on) if to_measure_on[1] else None
    said = (*said, *about_validation_splits(config, dataset, test_split, validation_split, part), *streamed)
    if known is None and len(learned.features) > 1 and any(apart):
        said = (*said, "note: no labels were found by their type, so a fine-tune that is told their column may choose and measure on pictures that are learned from here")
    return Splits(train, validation, held_out, part, test_split, said, validation_split, held_out_by(config, apart, by, hold_out))


def kept_or_streamed(train: Pictures, validation: Pictures | None, holder: Holder, config) -> tuple[Pictures, Pictures | None, tuple[str, ...]]:
    """The same pictures as tensors where they fit; otherwise as streams of one shape, and a line that says so."""
    pixels = holder.stacked()
    if pixels is not None:
        in_memory = replace(train, pixels=pixels[: len(train)])
        return in_memory, replace(validation, pixels=pixels[len(train) :]) if validation else None, ()
    streams = [pictures and replace(pictures, pixels=replace(pictures.pixels, shape=holder.shape)) for pictures in (train, validation)]
    asked = holder.bound == config.resident_gb * 1e9
    limit = f"--resident-gb {config.resident_gb:g}" if asked else f"half of the GPU's free memory, {holder.bound / 1e9:.2g} GB"
    return *streams, (f"{holder.gigabytes:.2g} GB of pictures are more than {limit}: {config.workers} workers stream them",)
