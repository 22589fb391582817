"""What of a trained folder is for others: on the Hub, and in the app that carries it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from training import card_words, figures
from training.card import EVAL_RESULTS, LICENCE, MARKER, README, base_licence, chosen_licence, licence_of, write_card
from training.extras import FACTS_FILE, TENSORS_FILE, bank_pictures
from training.report import METRICS_FILE, read_metrics, write_bytes
from vit_demo.classifier import FAITHFULNESS_FILE, load
from vit_demo.errors import UserError
from vit_demo.snapshots import NAME

MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
# What a model repository of ours holds. train.yaml and state/ stay here: they name folders of this machine and serve
# only to go on training in it.
PRODUCT = (*MODEL_FILES, README, METRICS_FILE, *figures.FIGURES, TENSORS_FILE, FACTS_FILE, FAITHFULNESS_FILE)
SNAPSHOTS = "snapshots"
# Licences that let others do with a model made from theirs what they like, and name its licence themselves.
PERMISSIVE = {"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "zlib", "unlicense", "wtfpl", "cc0-1.0", "cc-by-4.0", "cdla-permissive-2.0"}


def check_folder(folder: Path, unmeasured: bool = False, remedy: str = "finish the training"):
    """The folder's Classifier, once all is there that a stranger needs. `remedy`: what the caller's user can do about a missing number."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: give the one that training wrote")
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} has no {' and no '.join(missing)}: give the folder of a finished training")
    classifier = load(folder)
    if all(re.fullmatch(r"LABEL_\d+", label) for label in classifier.labels):
        raise UserError(f"the classes of {folder} have no names, only {classifier.labels[0]} and so on: put the names into id2label and label2id of config.json")
    if not unmeasured and card_words.measured_kind(read_metrics(folder)) is None:
        raise UserError(f"{folder} has no measured accuracy in {METRICS_FILE}: {remedy}")
    return classifier


def look_at_card(folder: Path, licence: str | None, pictures: bool = True) -> tuple[bool, str | None]:
    """(whether the card that lies there was changed by hand, the licence that it names). Raises UserError where what is asked for
    would not be heeded."""
    path = folder / README
    there = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    by_hand = bool(there) and MARKER not in there
    try:
        own = licence_of(there) if there else None
    except (ValueError, yaml.YAMLError):
        raise UserError(f"the lines between --- at the top of {path} are no YAML table: correct them, or delete the file to have it written anew") from None
    if by_hand and licence not in (None, own):
        raise UserError(f"--license {licence} has no effect on a card that was changed by hand: write license: {licence} into {path}")
    if by_hand and not pictures and figures.MISTAKES in there:
        raise UserError(f"{path} was changed by hand and shows {figures.MISTAKES}, which --no-pictures keeps here: take it out of the card")
    return by_hand, own


def choose_licence(folder: Path, given: str | None, hub: str | None = None) -> tuple[str, list[str]]:
    """(the licence of the card that is written, lines to tell the user about that of the model it was made from). `hub`: the licence
    that was chosen where it is sent to."""
    path, metrics = folder / README, read_metrics(folder)
    base, licence = metrics.get("base_model"), given
    named = base_licence(folder, metrics)
    if licence is None:
        licence = chosen_licence(path.read_text("utf-8") if path.is_file() else None, named, hub)
    if given or not base or named in PERMISSIVE:
        return licence, []
    what = f"is under {named}" if named else "names no licence that could be read"
    return licence, [f"the model that this one was made from, {base}, {what}; this one goes out under {licence}: read what it allows, and give another with --license if need be"]


def bad_licence(folder: Path, by_hand: bool, licence: str | None) -> str:
    """The line for when the Hub does not know the licence."""
    remedy = f"write another into {folder / README}" if by_hand else "give another with --license"
    return f"the Hub does not accept the card's licence {licence or LICENCE!r}: {remedy} (apache-2.0, mit, …)"


@contextmanager
def written_card(folder: Path, repo: str, licence: str | None, pictures: bool = True) -> Iterator[None]:
    """The card is written for the block. Where that fails, the earlier one comes back: what the Hub does not accept in this one,
    such as its licence, would otherwise be sent again and again."""
    path = folder / README
    earlier = path.read_bytes() if path.exists() else None
    try:
        write_card(folder, repo, licence, pictures)
        yield
    except BaseException:
        if earlier is None:
            path.unlink(missing_ok=True)
        else:
            write_bytes(path, earlier)
        raise


def product_files(folder: Path, pictures: bool = True) -> dict[str, Path | bytes]:
    """Path in the repository -> file here, or what it holds; without `pictures` none that shows somebody's pictures."""
    files = {name: folder / name for name in PRODUCT if (folder / name).is_file()}
    files |= {f"{EVAL_RESULTS}/{path.name}": path for path in sorted((folder / EVAL_RESULTS).glob("*.yaml"))}
    if pictures:
        return files
    return {name: file for name, file in files.items() if name not in (figures.MISTAKES, TENSORS_FILE, FACTS_FILE)} | energies_alone(folder)


def energies_alone(folder: Path) -> dict[str, bytes]:
    """Both files of extras as training writes them with --bank 0."""
    with suppress(OSError, ValueError, KeyError, TypeError, SafetensorError):  # what cannot be read stays here
        facts = {"energies": json.loads((folder / FACTS_FILE).read_text("utf-8"))["energies"]}
        tensors = {"energies": load_file(folder / TENSORS_FILE)["energies"]}
        return {TENSORS_FILE: save(tensors), FACTS_FILE: (json.dumps(facts, indent=1) + "\n").encode()}
    return {}


def shown_pictures(folder: Path) -> list[str]:
    """What of the folder shows somebody's pictures, in words: its user should know before others see them."""
    bank, wrong = bank_pictures(folder), len(read_metrics(folder).get("mistakes", []))
    return [*([f"{bank} training pictures ({TENSORS_FILE}: thumbnails, for the app's nearest pictures)"] if bank else []),
            *([f"{wrong or 'some'} of the pictures it was measured on ({figures.MISTAKES}: those it got wrong)"] if (folder / figures.MISTAKES).is_file() else [])]


def is_ours(path: str) -> bool:
    """Files of other names, such as .gitattributes or someone's notes, are left alone."""
    return path in PRODUCT or path.startswith(f"{EVAL_RESULTS}/")


def snapshots_of(folder: Path) -> list[Path]:
    """The folders of its snapshots, the earliest first."""
    return sorted(path for path in (folder / SNAPSHOTS).glob("*") if NAME.fullmatch(path.name) and (path / "model.safetensors").is_file())


def need_snapshots(folder: Path) -> list[Path]:
    found = snapshots_of(folder)
    if not found:
        raise UserError(f"{folder} has no {SNAPSHOTS}: train with --snapshots N to keep some")
    return found
