"""Any labelled picture dataset -> one uint8 tensor. Batches come from one permutation seeded by (seed, epoch).

Legend: M pictures, H W pixels.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from vit_demo.errors import UserError
from vit_demo.images import open_picture


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures in memory, as decoded: pixels (M,3,H,W) uint8, labels (M,) int64."""

    pixels: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int) -> "Pictures":
        return Pictures(self.pixels[start:stop], self.labels[start:stop], self.class_names)

    def take(self, ids: torch.Tensor) -> "Pictures":
        return Pictures(self.pixels[ids], self.labels[ids], self.class_names)

    def to(self, device: torch.device) -> "Pictures":
        return Pictures(self.pixels.to(device), self.labels.to(device), self.class_names)


@dataclass(frozen=True, eq=False)
class Splits:
    """What a run learns from and is measured on. `held_out_name` says what kind of number the last measure is."""

    train: Pictures
    validation: Pictures | None  # the last --validation-images training pictures
    held_out: Pictures  # the test split; without one, a seeded 10 % of the training pictures
    held_out_name: str  # "test" or "validation"
    test_split: str | None

    def to(self, device: torch.device) -> "Splits":
        """The pictures of every step on the device, once; the held-out ones are measured through the app's processor."""
        validation = self.validation.to(device) if self.validation is not None else None
        return Splits(self.train.to(device), validation, self.held_out, self.held_out_name, self.test_split)


def seed_for(*parts) -> int:
    """One 63-bit seed from any named parts, the same on every machine and version."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def epoch_order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """(count,) int64: the order in which epoch `epoch` visits the pictures."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_for("order", seed, epoch)))


def open_dataset(source: str):
    """Hub id, folder of parquet files, or folder with one folder of pictures a class -> DatasetDict."""
    import datasets

    folder = Path(source)
    try:
        if not folder.is_dir():
            return datasets.load_dataset(source)
        if any(folder.rglob("*.parquet")):
            return datasets.load_dataset(str(folder))
        return datasets.load_dataset("imagefolder", data_dir=str(folder), drop_labels=False)
    except datasets.exceptions.DatasetNotFoundError:
        raise UserError(f"no dataset {source!r}: neither a folder here nor a public repository on the Hub (private: hf auth login)") from None
    except datasets.exceptions.DataFilesNotFoundError:
        raise UserError(f"{source}: no parquet files and no folders of pictures in it") from None
    except (ConnectionError, TimeoutError):
        raise UserError(f"cannot reach the Hub for dataset {source!r}: check the network, or give a folder") from None
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(f"cannot read dataset {source!r}: {str(error).splitlines()[0][:200]}") from None


def find_columns(features, image_column: str | None = None, label_column: str | None = None) -> tuple[str, str]:
    """The picture and the label column, by feature type unless named."""
    import datasets

    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]

    def choose(kind: str, flag: str, named: str | None, candidates: list[str]) -> str:
        if named is not None:
            if named not in features:
                raise UserError(f"no column {named!r} ({flag}): the columns are {', '.join(features)}")
            return named
        if len(candidates) == 1:
            return candidates[0]
        found = f"several {kind} columns ({', '.join(candidates)})" if candidates else f"no {kind} column among {', '.join(features)}"
        raise UserError(f"{found}: choose one with {flag}")

    image = choose("image", "--image-column", image_column, images)
    if image not in images:
        raise UserError(f"column {image!r} holds no pictures: choose among {', '.join(images) or 'none'}")
    if not labels and label_column is None:  # plain integers or strings serve when named
        raise UserError(f"no label column among {', '.join(features)}: name one with --label-column")
    return image, choose("label", "--label-column", label_column, labels)


def class_ids(column: list, feature) -> tuple[list[int], tuple[str, ...]]:
    """Labels as numbers from 0 and their names; checked before the first step."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        names, ids = tuple(feature.names), column
    else:
        if any(value is None for value in column):
            raise UserError("the label column has empty rows: remove them first")
        values = sorted(set(column))
        index = {value: number for number, value in enumerate(values)}
        names, ids = tuple(map(str, values)), [index[value] for value in column]
    if len(names) < 2:
        raise UserError(f"only one class ({', '.join(names)}): a classifier needs at least 2")
    for row, label in enumerate(ids):
        if label is None or not 0 <= label < len(names):
            raise UserError(f"row {row} has label {label}: labels must lie between 0 and {len(names) - 1}")
    return list(ids), names


def read_split(dataset, split: str, columns: tuple[str, str], *, size: int | None = None, limit: int | None = None,
               skip_bad: bool = False, progress: bool = True, names: tuple[str, ...] | None = None) -> Pictures:
    """Decode one split. Pictures of one size keep it; others are resized to `size` as the processor would."""
    import datasets
    from tqdm.auto import tqdm

    rows = dataset[split]
    if limit is not None:
        rows = rows.select(range(min(limit, len(rows))))
    if len(rows) == 0:
        raise UserError(f"split {split!r} is empty")
    image_column, label_column = columns
    ids, class_names = class_ids(rows[label_column][:], rows.features[label_column])
    if names is not None and class_names != names:
        raise UserError(f"split {split!r} has other classes ({', '.join(class_names)[:100]}) than the training split ({', '.join(names)[:100]})")
    pixels, kept, bad = [], [], 0
    encoded = rows.select_columns([image_column]).cast_column(image_column, datasets.Image(decode=False))
    for row, record in enumerate(tqdm(encoded, desc=f"decoding {split}", disable=not progress, unit=" pictures")):
        try:
            picture = open_picture(record[image_column]["bytes"] or record[image_column]["path"])
        except UserError as error:
            if not skip_bad:
                path = record[image_column].get("path")
                raise UserError(f"{split} row {row}{f' ({path})' if path else ''}: {error} (--skip-bad leaves such pictures out)") from None
            bad += 1
            continue
        pixels.append(picture)
        kept.append(ids[row])
    if bad:
        print(f"{split}: left out {bad} of {len(ids)} pictures that could not be read")
    if not kept:
        raise UserError(f"split {split!r}: not one picture could be read")
    return Pictures(stack(pixels, size), torch.tensor(kept), class_names)


def stack(pictures: list, size: int | None) -> torch.Tensor:
    """PIL pictures -> (M,3,H,W) uint8; of several sizes, or larger than `size`: resized to size x size (bilinear)."""
    import numpy
    from PIL import Image

    sizes = {picture.size for picture in pictures}
    shape = sizes.pop() if len(sizes) == 1 else None
    if shape is None or (size is not None and max(shape) > size):
        if size is None:
            raise UserError("the pictures have several sizes: give --image-size")
        pictures = [picture.resize((size, size), Image.Resampling.BILINEAR) for picture in pictures]
    return torch.from_numpy(numpy.stack([numpy.asarray(p) for p in pictures])).permute(0, 3, 1, 2).contiguous()


def load_pictures(source: str, split: str, *, image_column: str | None = None, label_column: str | None = None,
                  size: int | None = None, limit: int | None = None) -> Pictures:
    """One split of any dataset, for measuring a model on it."""
    dataset = open_dataset(source)
    need_split(dataset, split, "--split")
    columns = find_columns(dataset[split].features, image_column, label_column)
    return read_split(dataset, split, columns, size=size, limit=limit)


def need_split(dataset, split: str, flag: str) -> None:
    if split not in dataset:
        raise UserError(f"no split {split!r}: the dataset has {', '.join(dataset)}; choose with {flag}")


def load_splits(config, size: int, progress: bool = True) -> Splits:
    """The run's pictures, every input checked before the first step. `size` is what the model sees."""
    dataset = open_dataset(config.dataset)
    need_split(dataset, config.train_split, "--train-split")
    if config.test_split:
        need_split(dataset, config.test_split, "--test-split")
    test_split = config.test_split or ("test" if "test" in dataset and config.train_split != "test" else None)
    if test_split == config.train_split:
        raise UserError(f"--test-split {test_split} is the training split: a model is not tested on what it learned from")
    columns = find_columns(dataset[config.train_split].features, config.image_column, config.label_column)
    read = dict(columns=columns, size=size, skip_bad=config.skip_bad, progress=progress)
    train = read_split(dataset, config.train_split, **read)
    if test_split:
        held_out, held_out_name = read_split(dataset, test_split, names=train.class_names, **read), "test"
    else:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed_for("held out", config.seed)))
        cut = max(1, len(train) // 10)
        held_out, held_out_name, train = train.take(order[:cut]), "validation", train.take(order[cut:].sort().values)
    validation = None
    if config.validation_images:
        if config.validation_images >= len(train):
            raise UserError(f"--validation-images {config.validation_images} leaves none of the {len(train)} training pictures")
        validation = train.part(len(train) - config.validation_images, len(train))
        train = train.part(0, len(train) - config.validation_images)
    if config.max_train_images is not None:
        train = train.part(0, config.max_train_images)
    if len(train) == 0:
        raise UserError("no training pictures left: raise --max-train-images")
    return Splits(train, validation, held_out, held_out_name, test_split)
