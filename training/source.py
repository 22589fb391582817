"""Where pictures come from: a Hub dataset, parquet files, or a folder a class; which columns hold them, and their classes."""

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from training.picture_folder import TABLES, is_picture, splits_of
from vit_demo.errors import UserError

PLAIN = ("int", "uint", "string", "large_string")  # types of a column that holds whole numbers or words


def open_dataset(source: str, config: str | None = None, classes: bool = True):
    """Hub id, folder of parquet files, or folder of pictures (picture_folder.py) -> DatasetDict. `config`: which of several data
    sets that live under one name; `classes`: whether its labels will be read. Raises UserError with one line."""
    import datasets

    folder = Path(source).resolve()  # "." too has a name
    try:
        if not folder.is_dir():
            return datasets.load_dataset(source, config)
        if parquet := [path.relative_to(folder) for path in folder.rglob("*.parquet") if path.name not in TABLES]:
            if glob.has_magic(str(folder)):  # the library would take its name for a pattern
                raise UserError(f"parquet files in {folder} are not found for the characters * ? [ in that path: rename it")
            if datasets.load_dataset_builder(str(folder), config).name == "imagefolder":  # which it would read by its own rules, not those of splits_of
                raise UserError(f"{folder} is a folder of pictures and holds the parquet file {min(parquet)} too: take that away, or give the folder of parquet files alone")
            return datasets.load_dataset(str(folder), config)
        if config is not None:
            raise UserError(f"{folder} is a folder of pictures, which is one data set: leave --dataset-config {config} out")
        paths = splits_of(folder, classes)
        need_known_kinds(paths)
        return read_folder(paths)
    except UserError:
        raise
    except datasets.exceptions.DatasetNotFoundError:
        raise UserError(f"no dataset {source!r}: neither a folder here nor a public repository on the Hub (private: hf auth login)") from None
    except FileNotFoundError:
        raise UserError(f"no dataset {source!r}: no such folder, and no pictures in a repository of that name") from None
    except (ConnectionError, TimeoutError):
        raise UserError(f"cannot reach the Hub for dataset {source!r}: check the network, or give a folder") from None
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(unreadable(source, config, error)) from None


def as_listed(paths: list[str]):
    """Files for the library as they are, not as patterns; it keeps what it read of them until one has another time."""
    from datasets.data_files import DataFilesList

    return DataFilesList(paths, [(str(os.path.getmtime(path)),) for path in paths])


def read_folder(paths: dict[str, list[str]]):
    """{split: files} -> DatasetDict. The library gives each split the classes of all of them: the training split is read by itself
    where others have more, so that known_ids misses those, which no picture would have taught."""
    import datasets

    files = {split: as_listed(found) for split, found in paths.items()}
    found = datasets.load_dataset("imagefolder", data_files=files, drop_labels=False)
    label = found["train"].features.get("label") if "train" in found else None
    if is_declared(label) and set(label.names) != {os.path.basename(os.path.dirname(path)) for path in paths["train"] if is_picture(path)}:
        found["train"] = datasets.load_dataset("imagefolder", data_files={"train": files["train"]}, drop_labels=False)["train"]
    return found


def need_known_kinds(paths: dict[str, list[str]]) -> None:
    """The library leaves out kinds of pictures that it does not know; where a table lists them, it is the table that chooses."""
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

    for split, files in paths.items():
        pictures = [path for path in files if is_picture(path)]
        kinds = [kind for path in pictures if (kind := os.path.splitext(path)[1]).lower() not in ImageFolder.EXTENSIONS]
        if kinds and not any(os.path.basename(path) in TABLES for path in files):
            raise UserError(f"pictures of a kind that is not read ({', '.join(sorted(set(kinds)))}): {len(kinds)} of the {len(pictures)} of split {split}: "
                            "save those as JPEG or PNG, or take them away")


def unreadable(source: str, config: str | None, error: Exception) -> str:
    """What keeps a data set from being read, and what to do."""
    import datasets

    cause = (str(error.__cause__ or error) or type(error).__name__).splitlines()[0][:200]
    if re.search("config", cause, re.IGNORECASE) and (names := configurations(source)):
        return f"dataset {source!r} has {'several configurations' if config is None else f'no configuration {config!r}'}: choose with --dataset-config among {', '.join(names)[:400]}"
    if "scripts are no longer supported" in cause:
        return f"dataset {source!r} is a program, not files, and programs of others are not run: take a copy of it in parquet files"
    if isinstance(error, datasets.exceptions.SplitsVerificationError):
        return f"the README.md of dataset {source!r} promises other splits than its files hold ({cause}): mend dataset_info there, or take it out"
    if "corresponds to no data" in cause:
        return f"dataset {source!r} has an empty split ({cause}): take its file away, or fill it"
    return f"cannot read dataset {source!r}: {cause}"


def configurations(source: str) -> list[str]:
    """Names of the data sets under one name; none where they cannot be told."""
    import datasets

    try:
        return datasets.get_dataset_config_names(source)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError):
        return []


def need_split(dataset, split: str, flag: str) -> None:
    if split not in dataset:
        raise UserError(f"no split {split!r}: the dataset has {', '.join(dataset)}; choose with {flag}")
    if len(dataset[split]) == 0:
        raise UserError(f"split {split!r} is empty: choose another with {flag}")


def holds_pictures(feature) -> bool:
    """A picture column; a table of {bytes, path} is one that was written without saying so."""
    import datasets

    return isinstance(feature, datasets.Image) or isinstance(feature, dict) and "bytes" in feature


def choose_column(features, kind: str, flag: str, named: str | None, candidates: list[str]) -> str:
    if named is not None:
        if named not in features:
            raise UserError(f"no column {named!r} ({flag}): the columns are {', '.join(features)}")
        return named
    if len(candidates) == 1:
        return candidates[0]
    found = f"several {kind} columns ({', '.join(candidates)})" if candidates else f"no {kind} column among {', '.join(features)}"
    raise UserError(f"{found}: choose one with {flag}")


def find_image_column(features, named: str | None = None) -> str:
    """The picture column, by feature type unless named."""
    images = [name for name, feature in features.items() if holds_pictures(feature)]
    image = choose_column(features, "image", "--image-column", named, images)
    if image not in images:
        raise UserError(f"column {image!r} holds no pictures: choose among {', '.join(images) or 'none'}")
    return image


def find_columns(features, image_column: str | None = None, label_column: str | None = None) -> tuple[str, str]:
    """The picture and the label column, by feature type unless named; where no column declares classes, one of whole numbers or
    words that is called label or labels."""
    import datasets

    image = find_image_column(features, image_column)
    labels = [name for name, feature in features.items() if is_declared(feature)]
    labels = labels or [name for name in ("label", "labels") if name in features and isinstance(features[name], datasets.Value) and features[name].dtype.startswith(PLAIN)]
    label = choose_column(features, "label", "--label-column", label_column, labels)
    if label not in labels and not isinstance(features[label], datasets.Value):  # plain numbers or words serve when named
        raise UserError(f"column {label!r} holds no labels: choose one of class labels, whole numbers or words")
    return image, label


def class_ids(column: list, feature) -> tuple[list[int], tuple[str, ...]]:
    """Labels as numbers from 0, and the classes' names: declared ones, or the words or numbers that the column holds. Every row is checked."""
    need_labels(column)
    if is_declared(feature):
        names, ids = tuple(feature.names), list(column)
    else:
        for row, label in enumerate(column):
            if isinstance(label, int) and label < 0:  # how many data sets write "no label"
                raise UserError(f"row {row} has label {label}, and a negative number is no class: remove such rows first, or choose another column with --label-column")
        values = sorted(set(column))
        names, number = tuple(map(str, values)), {value: index for index, value in enumerate(values)}
        ids = [number[label] for label in column]
    for row, label in enumerate(ids):
        if not 0 <= label < len(names):
            raise UserError(f"row {row} has label {label}: labels must lie between 0 and {len(names) - 1}: remove such rows first, or choose another split or --label-column")
    return ids, names


def known_ids(column: list, feature, known: tuple[str, ...], declared: bool, chosen_on: str | None = None) -> list[int]:
    """Labels of the test split, or of the split `chosen_on`, as numbers of the training split's classes `known`, matched by name. A
    column of plain numbers may mean the numbers that the training split has `declared`; where it declares none, a number is a name
    as any other. Numbers that may be either, and other classes then, are refused."""
    need_labels(column)
    what, remedy = ("the test split", "name another with --test-split, or leave it unread with --test-split none, and --validation-images where no validation split is")
    if chosen_on:
        what, remedy = f"split {chosen_on!r}", "leave it unread with --validation-split none"
    spoken = dict(enumerate(feature.names)) if is_declared(feature) else {}
    if declared and not spoken:
        by_number, values = dict(enumerate(known)), sorted(set(column))
        if not set(map(str, values)) <= set(known):
            spoken = by_number
        elif by_number.keys() >= set(values) and any(by_number[value] != str(value) for value in values):
            raise UserError(f"plain numbers of {what} ({', '.join(map(str, values))[:100]}) may be names or positions, from 0, of the training split's classes "
                            f"({', '.join(known)[:100]}): declare its classes as there, or {remedy}")
    names = [spoken.get(label, str(label)) for label in column]
    number = {name: index for index, name in enumerate(known)}
    if strange := sorted(set(names) - set(known)):
        raise UserError(f"{what} has other classes ({', '.join(strange)[:100]}) than the training split ({', '.join(known)[:100]}): {remedy}")
    return [number[name] for name in names]


def is_declared(feature) -> bool:
    import datasets

    return isinstance(feature, datasets.ClassLabel)


def need_labels(column: list) -> None:
    for row, label in enumerate(column):
        if label is None or label != label:  # NaN
            raise UserError(f"row {row} has no label: remove such rows first")


def need_classes(ids: list[int], names: tuple[str, ...], shown: Iterable[int] = ()) -> tuple[str, ...]:
    """Classes to tell apart are those that the pictures to learn from show, however many names are declared: fewer than two is a
    UserError. Returns a line about those that only pictures of the whole split have `shown`, and nothing where there are none."""
    if len(set(ids)) < 2:
        raise UserError(f"only one class ({names[ids[0]]}): a classifier needs at least 2 among its {len(ids)} training pictures: add pictures of another class, or raise --max-train-images if they were cut off")
    missing = sorted(set(shown) - set(ids))
    listed = ", ".join(names[label] for label in missing[:5]) + (", …" if len(missing) > 5 else "")
    return (f"warning: no training picture of {len(missing)} classes ({listed}), so they will not be learned: all of theirs are held out, cut off by --max-train-images, or unreadable",) if missing else ()
