"""A folder of pictures -> its splits: which of its folders are splits and which are classes, told by whole names and by depth.

    pictures/cat/1.png                                     one split, its classes
    pictures/train/cat/1.png  pictures/test/cat/9.png      splits, their classes
    pictures/train/metadata.csv  pictures/train/1.png      splits, their labels in a table (columns file_name and label)
"""

import os
from pathlib import Path

from PIL import Image

from vit_demo.errors import UserError

SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
          "test": "test", "testing": "test", "eval": "test", "evaluation": "test"}
TABLES = ("metadata.csv", "metadata.jsonl")  # of the library's own format
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


def splits_of(folder: Path, classes: bool = True) -> dict[str, str]:
    """{split: pattern of its files, relative to `folder`}; every picture belongs to just one. The library alone would look for
    words such as "test" anywhere in a path: test-tube, a class, would be a split, and other classes would be left out.
    `classes`: whether folders stand for classes; where no label is read, pictures may lie at any depth.

    Raises UserError where a picture would belong to no split, or to a class that nobody meant."""
    if packed := [path.name for path in files(folder) if path.suffix.lower() in ARCHIVES]:
        raise UserError(f"{folder} holds the archive {packed[0]}: unpack it, and take it away")
    if not any(map(is_picture, folder.rglob("*"))):
        raise UserError(f"{folder}: no parquet files and no folders of pictures in it")
    filled = [path for path in folders(folder) if any(map(is_picture, path.rglob("*")))]
    named = [path for path in filled if path.name.lower() in SPLITS]
    others = [path.name for path in filled if path not in named]
    if named and not others:
        found = patterns(folder, named)
        for split in named if classes else ():
            need_flat(split, folder)
        return found
    if any(map(is_split, named)):
        raise UserError(f"{folder} holds the split {named[0].name}/ and, beside it, {others[0]}/, which is none: "
                        f"leave only splits there (train, validation, test), or rename {named[0].name}/ if it is a class")
    below = [inner for path in filled for inner in folders(path)]
    deeper = [inner for inner in below if inner.name.lower() in SPLITS]
    if deeper and (len(deeper) == len(below) or any(map(is_split, deeper))):
        raise UserError(f"{folder} holds splits one level down ({deeper[0].relative_to(folder)}/): give the folder that holds train/ and test/ themselves, with the classes inside them")
    loose = [path.name for path in files(folder) if is_picture(path)]
    if filled and loose and not has_table(folder):
        raise UserError(f"{folder} holds pictures beside its class folders ({', '.join(loose[:3])}): put each into the folder of its class")
    if classes:
        need_flat(folder, folder)
    return {"train": "**"}


def need_flat(split: Path, folder: Path) -> None:
    """Each picture of a split lies in the folder of its class itself: the library would take the innermost folder for the class,
    indoor of cat/indoor/1.png. A table names the classes whatever the folders are."""
    deep = None
    for place, inner, names in os.walk(split):
        if not set(TABLES).isdisjoint(names):
            return
        inner[:] = sorted(filter(is_visible, inner))
        if deep is None and len(Path(place).relative_to(split).parts) > 1:
            deep = next((Path(place) / name for name in sorted(names) if is_visible(name) and is_picture(Path(name))), None)
    if deep is not None:
        raise UserError(f"{folder} holds pictures deeper than in the folder of a class ({deep.relative_to(folder)}): "
                        "put such into that folder itself, or give the folder that holds the class folders")


def patterns(folder: Path, named: list[Path]) -> dict[str, str]:
    found = {SPLITS[path.name.lower()]: f"{path.name}/**" for path in named}
    if len(found) < len(named):
        raise UserError(f"{folder} holds one split under two names ({', '.join(path.name for path in named)}): put them together, or rename one")
    return found


def is_split(folder: Path) -> bool:
    """Whether a folder called train is one beside others that are not: it has class folders or a table, not pictures alone like a class."""
    return has_table(folder) or bool(folders(folder))


def has_table(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TABLES)


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in Image.registered_extensions()


def folders(folder: Path) -> list[Path]:
    return [Path(entry) for entry in visible(folder) if entry.is_dir()]


def files(folder: Path) -> list[Path]:
    return [Path(entry) for entry in visible(folder) if entry.is_file()]


def visible(folder: Path) -> list[os.DirEntry]:
    """What it holds, each with its kind: a class may have a million pictures, too many to ask the disk about again."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if is_visible(entry.name)), key=lambda entry: entry.name)


def is_visible(name: str) -> bool:
    """Whether the library reads a file or folder of this name."""
    return not name.startswith((".", "__"))
