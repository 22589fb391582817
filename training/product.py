"""What of a trained folder is for others: on the Hub, and in the app that carries it."""

import re
from pathlib import Path

from training import card_words, figures
from training.card import EVAL_RESULTS, README
from training.extras import FACTS_FILE, TENSORS_FILE
from training.report import METRICS_FILE, read_metrics
from vit_demo.classifier import FAITHFULNESS_FILE, load
from vit_demo.errors import UserError
from vit_demo.snapshots import NAME

MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
# What a model repository of ours holds. train.yaml and state/ stay here: they name folders of this machine and serve
# only to go on training in it.
PRODUCT = (*MODEL_FILES, README, METRICS_FILE, *figures.FIGURES, TENSORS_FILE, FACTS_FILE, FAITHFULNESS_FILE)
SNAPSHOTS = "snapshots"


def check_folder(folder: Path, unmeasured: bool = False):
    """The folder's Classifier, once all is there that a stranger needs."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: give the one that training wrote")
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} has no {' and no '.join(missing)}: give the folder of a finished training")
    classifier = load(folder)
    if all(re.fullmatch(r"LABEL_\d+", label) for label in classifier.labels):
        raise UserError(f"the classes of {folder} have no names, only {classifier.labels[0]} and so on: put the names into id2label and label2id of config.json")
    if not unmeasured and card_words.measured_kind(read_metrics(folder)) is None:
        raise UserError(f"{folder} has no measured accuracy in {METRICS_FILE}: finish the training, or add --unmeasured to publish it without a number")
    return classifier


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
