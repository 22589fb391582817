"""Where pictures come from: a Hub dataset, parquet files, or a folder a class; which columns hold them, and their classes."""

from pathlib import Path

from vit_demo.errors import UserError


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
    except FileNotFoundError:
        if not folder.is_dir():
            raise UserError(f"no dataset {source!r}: no such folder") from None
        raise UserError(f"{source}: no parquet files and no folders of pictures in it") from None
    except (ConnectionError, TimeoutError):
        raise UserError(f"cannot reach the Hub for dataset {source!r}: check the network, or give a folder") from None
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        cause = (str(error.__cause__ or error) or type(error).__name__).splitlines()[0][:200]
        if "corresponds to no data" in cause:
            raise UserError(f"dataset {source!r} has an empty split ({cause}): take its file away, or fill it") from None
        raise UserError(f"cannot read dataset {source!r}: {cause}") from None


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
    """The picture and the label column, by feature type unless named."""
    import datasets

    image = find_image_column(features, image_column)
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    label = choose_column(features, "label", "--label-column", label_column, labels)
    if label not in labels and not isinstance(features[label], datasets.Value):  # plain numbers or words serve when named
        raise UserError(f"column {label!r} holds no labels: choose one of class labels, whole numbers or words")
    return image, label


def class_ids(column: list, feature, known: tuple[str, ...] | None = None) -> tuple[list[int], tuple[str, ...]]:
    """Labels as numbers from 0, and the classes' names; `known` are those of the training split. Every row is checked."""
    import datasets

    plain = not isinstance(feature, datasets.ClassLabel)
    for row, label in enumerate(column):
        if label is None:
            raise UserError(f"row {row} has no label: remove such rows first")
        if plain and known is None and isinstance(label, int) and label < 0:  # how many data sets write "no label"
            raise UserError(f"row {row} has label {label}, and a negative number is no class: remove such rows first, or choose another column with --label-column")
    if plain:
        names = known or tuple(map(str, sorted(set(column))))
        number = {name: index for index, name in enumerate(names)}
        ids = [number.get(str(value), value) for value in column]
    else:
        names, ids = tuple(feature.names), list(column)
    if known is not None and (names != known or not set(ids) <= set(range(len(known)))):
        strange = sorted(set(map(str, names)) - set(known)) or sorted({str(i) for i in ids} - {str(i) for i in range(len(known))}) or names
        raise UserError(f"the test split has other classes ({', '.join(strange)[:100]}) than the training split ({', '.join(known)[:100]}): name another with --test-split, or leave it unread with --test-split none and --validation-images")
    for row, label in enumerate(ids):
        if not 0 <= label < len(names):
            raise UserError(f"row {row} has label {label}: labels must lie between 0 and {len(names) - 1}: remove such rows first, or choose another split or --label-column")
    return ids, names


def need_classes(ids: list[int], names: tuple[str, ...]) -> None:
    """Classes to tell apart are those that the pictures to learn from show, however many names are declared."""
    if len(set(ids)) < 2:
        raise UserError(f"only one class ({names[ids[0]]}): a classifier needs at least 2 among its {len(ids)} training pictures: add pictures of another class, or raise --max-train-images if those of a sorted dataset were cut off")
