"""What of a trained folder is for others: on the Hub, and in the app that carries it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from huggingface_hub import ModelCard

from training import card_words, figures
from training.card import EVAL_RESULTS, LICENCE, MARKER, README, write_card
from training.extras import FACTS_FILE, TENSORS_FILE
from training.report import METRICS_FILE, read_metrics, write_bytes
from vit_demo.classifier import FAITHFULNESS_FILE, load
from vit_demo.errors import UserError
from vit_demo.snapshots import NAME

MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
# What a model repository of ours holds. train.yaml and state/ stay here: they name folders of this machine and serve
# only to go on training in it.
PRODUCT = (*MODEL_FILES, README, METRICS_FILE, *figures.FIGURES, TENSORS_FILE, FACTS_FILE, FAITHFULNESS_FILE)
SNAPSHOTS = "snapshots"


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


def look_at_card(folder: Path, licence: str | None) -> tuple[bool, str]:
    """(whether the card that lies there was changed by hand, the line for when the Hub does not know the licence). Raises UserError
    where the licence given would not be heeded."""
    path = folder / README
    there = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    by_hand = bool(there) and MARKER not in there
    try:
        own = ModelCard(there, ignore_metadata_errors=True).data.license if there else None
    except (ValueError, yaml.YAMLError):
        raise UserError(f"the lines between --- at the top of {path} are no YAML table: correct them, or delete the file to have it written anew") from None
    if by_hand and licence not in (None, own):
        raise UserError(f"--license {licence} has no effect on a card that was changed by hand: write license: {licence} into {path}")
    remedy = f"write another into {path}" if by_hand else "give another with --license"
    return by_hand, f"the Hub does not accept the card's licence {licence or own or LICENCE!r}: {remedy} (apache-2.0, mit, …)"


@contextmanager
def written_card(folder: Path, repo: str, licence: str | None) -> Iterator[None]:
    """The card is written for the block. Where that fails, the earlier one comes back: what the Hub does not accept in this one,
    such as its licence, would otherwise be sent again and again."""
    path = folder / README
    earlier = path.read_bytes() if path.exists() else None
    try:
        write_card(folder, repo, licence)
        yield
    except BaseException:
        if earlier is None:
            path.unlink(missing_ok=True)
        else:
            write_bytes(path, earlier)
        raise


def product_files(folder: Path) -> dict[str, Path]:
    """Path in the repository -> file here."""
    files = {name: folder / name for name in PRODUCT if (folder / name).is_file()}
    return files | {f"{EVAL_RESULTS}/{path.name}": path for path in sorted((folder / EVAL_RESULTS).glob("*.yaml"))}


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
