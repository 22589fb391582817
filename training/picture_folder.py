"""A folder of pictures -> its splits: which of its folders are splits and which are classes, told by whole names and by depth.

    pictures/cat/1.png                                     one split, its classes
    pictures/train/cat/1.png  pictures/test/cat/9.png      splits, their classes
    pictures/train/metadata.csv  pictures/train/1.png      splits, their labels in a table (columns file_name and label)
"""

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from vit_demo.errors import UserError

SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
          "test": "test", "testing": "test", "eval": "test", "evaluation": "test"}
TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of the library's own format
# Photos of telephones and cameras that nothing here reads; they count, so that none is left out in silence.
UNREAD = (".heic", ".heif", ".hif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


def splits_of(folder: Path, classes: bool = True) -> dict[str, list[str]]:
    """{split: paths of its files, sorted}; every picture belongs to just one. The library alone would look for words such as
    "test" anywhere in a path: test-tube, a class, would be a split, and other classes would be left out, as would links to folders.
    `classes`: whether folders stand for classes; where no label is read, pictures may lie at any depth.

    Raises UserError where a picture would belong to no split, or to a class that nobody meant."""
    if packed := [path.name for path in files(folder) if path.suffix.lower() in ARCHIVES]:
        raise UserError(f"{folder} holds the archive {packed[0]}: unpack it, and take it away")
    need_seen(folder)
    loose = loose_pictures(folder)
    filled = [path for path in folders(folder) if holds_pictures(path)]
    if not loose and not filled:
        raise UserError(f"{folder}: no parquet files and no folders of pictures in it")
    named = [path for path in filled if path.name.lower() in SPLITS]
    others = [path.name for path in filled if path not in named]
    if named and not others:
        return files_of_splits(folder, named, loose, classes)
    if any(map(is_split, named)):
        raise UserError(f"{folder} holds the split {named[0].name}/ and, beside it, {others[0]}/, which is none: "
                        f"leave only splits there (train, validation, test), or rename {named[0].name}/ if it is a class")
    below = [inner for path in filled for inner in folders(path)]
    deeper = [inner for inner in below if inner.name.lower() in SPLITS]
    if deeper and (len(deeper) == len(below) or any(map(is_split, deeper))):
        raise UserError(f"{folder} holds splits one level down ({deeper[0].relative_to(folder)}/): give the folder that holds train/ and test/ themselves, with the classes inside them")
    if classes:
        need_flat(folder, folder)
    return {"train": all_files(folder)}


def need_seen(folder: Path) -> None:
    """No class or split has a name that the library does not look at."""
    with os.scandir(folder) as entries:
        unseen = sorted(entry.name for entry in entries if entry.name.startswith("__") and entry.is_dir() and holds_pictures(Path(entry)))
    if unseen:
        raise UserError(f"{folder} holds pictures in {unseen[0]}/, which begins with __ and would be left out: rename it, or take it away")


def need_flat(split: Path, folder: Path) -> None:
    """Each picture of a split lies in the folder of its class itself: the library would take the innermost folder for the class,
    indoor of cat/indoor/1.png, train of train/1.png. No class is empty: the library would leave it out. A table names the classes
    whatever the folders are."""
    loose = loose_pictures(split)
    if loose and not has_table(split) and any(map(holds_pictures, folders(split))):
        raise UserError(f"{split} holds pictures beside its class folders ({some(loose)}): put each into the folder of its class")
    deep, filled = None, set()
    for place, names in walk(split):
        if not set(TABLES).isdisjoint(names):
            return
        within, picture = place.relative_to(split).parts, next(filter(is_picture, names), None)
        if within and picture:
            filled.add(within[0])
            deep = deep or (place / picture if len(within) > 1 else None)
    if deep is not None:
        raise UserError(f"{folder} holds pictures deeper than in the folder of a class ({deep.relative_to(folder)}): "
                        "put such into that folder itself, or give the folder that holds the class folders")
    if not loose and (empty := [path.name for path in folders(split) if path.name not in filled]):
        raise UserError(f"{split} holds folders without a picture ({some(empty)}), and each folder is a class: put its pictures there, or take it away")


def files_of_splits(folder: Path, named: list[Path], loose: list[str], classes: bool) -> dict[str, list[str]]:
    """Refuses what lies beside the splits `named` and would be left out: `loose` pictures, a table."""
    places = {SPLITS[path.name.lower()]: path for path in named}
    if len(places) < len(named):
        raise UserError(f"{folder} holds one split under two names ({', '.join(path.name for path in named)}): put them together, or rename one")
    if loose:
        raise UserError(f"{folder} holds pictures ({some(loose)}) beside its split {named[0].name}/: put each into the split that it belongs to")
    if classes and has_table(folder):
        raise UserError(f"{folder} holds a table of labels ({' or '.join(TABLES)}) beside its split {named[0].name}/: put a table into each split instead")
    for split in named:
        need_seen(split)
        if classes:
            need_flat(split, folder)
    return {split: all_files(path) for split, path in places.items()}


def all_files(folder: Path) -> list[str]:
    found = sorted(str(place / name) for place, names in walk(folder) for name in names)
    if lost := next((path for path in found if not os.path.exists(path)), None):
        raise UserError(f"{lost} is a link to nothing: mend it, or take it away")
    return found


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below it, links followed, and the names of the files in it: of what is visible, in the order of names."""
    for place, inner, names in os.walk(folder, followlinks=True):
        inner[:] = sorted(name for name in inner if is_visible(name, folder=True))
        for link in filter(Path.is_symlink, (Path(place, name) for name in inner)):
            if link.resolve() in map(Path.resolve, link.parents):
                raise UserError(f"{link} is a link to a folder that it lies in: take it away")
        yield Path(place), sorted(name for name in names if is_visible(name, folder=False))


def holds_pictures(folder: Path) -> bool:
    """Whether it does at any depth."""
    return any(is_picture(name) for _, names in walk(folder) for name in names)


def loose_pictures(folder: Path) -> list[str]:
    """Names of those that lie in the folder itself."""
    return [path.name for path in files(folder) if is_picture(path.name)]


def some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def is_split(folder: Path) -> bool:
    """Whether a folder called train is one beside others that are not: it has class folders or a table, not pictures alone like a class."""
    return has_table(folder) or bool(folders(folder))


def has_table(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TABLES)


def is_picture(name: str) -> bool:
    """Whether what is called so is one, of a kind that Pillow opens (PDF, for one, it only writes) or not."""
    kind = Path(name).suffix.lower()
    return kind in UNREAD or Image.registered_extensions().get(kind) in Image.OPEN


def folders(folder: Path) -> list[Path]:
    return [Path(entry) for entry in visible(folder) if entry.is_dir()]


def files(folder: Path) -> list[Path]:
    return [Path(entry) for entry in visible(folder) if entry.is_file()]


def visible(folder: Path) -> list[os.DirEntry]:
    """What it holds, each with its kind: a class may have a million pictures, too many to ask the disk about again."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if is_visible(entry.name, entry.is_dir())), key=lambda entry: entry.name)


def is_visible(name: str, folder: bool) -> bool:
    """Whether a file or folder of this name is read; the library's own rule."""
    return not name.startswith((".", "__") if folder else ".")
