"""The model card: README.md and .eval_results/ of a model folder, from its config.json, metrics.json and extras.json alone.

The words and their order are in card_template.md; this file puts the numbers into them. What was not measured is said to
be so, and a number on held-out training pictures is never called test accuracy.
"""

import hashlib
import math
import re
import shlex
from contextlib import suppress
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, HfApi, ModelCard, ModelCardData, eval_result_entries_to_yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import ViTConfig

from training import card_words as words
from training import figures
from training.extras import bank_pictures
from training.lineage import ANSWER_SECONDS
from training.report import read_metrics, write_bytes
from vit_demo.errors import UserError
from vit_demo.hub_model import patch_grid, sides

README = "README.md"
EVAL_RESULTS = ".eval_results"
LICENCE = "apache-2.0"
TEMPLATE = Path(__file__).with_name("card_template.md")
MARKER = "<!-- Written by training.card from config.json and metrics.json. Delete this line to keep changes made by hand. -->"
# Under a card that is sent: what of it was edited on the Hub since shows, whoever sends the next one from wherever.
SEAL = re.compile(r"\r?\n<!-- As it was sent: sha256 ([0-9a-f]{64}) -->")
CAPTIONS = {
    figures.CURVES: ("Learning curves", "Loss and accuracy, epoch by epoch. Those of training are of augmented, perhaps mixed pictures, against smoothed targets."),
    figures.CONFUSION: ("Confusion matrix", "Each row is a true class; the numbers say, in %, what the model took it for."),
    figures.RELIABILITY: ("Reliability diagram", "How often an answer is right, by the probability it was given with."),
    figures.MISTAKES: ("Most confident mistakes", "The wrong answers the model was surest of."),
}


def write_card(folder: Path | str, repo: str | None = None, licence: str | None = None, pictures: bool = True) -> Path:
    """Writes README.md and .eval_results/*.yaml -> path of README.md. `repo`: where it will lie on the Hub, USER/NAME; `pictures`:
    whether those that show somebody's pictures lie beside it.

    A README.md without the marker line was changed by hand and stays. The licence of an earlier card stays unless given."""
    folder = Path(folder)
    path = folder / README
    earlier = path.read_text(encoding="utf-8") if path.exists() else None
    metrics = read_metrics(folder)
    write_eval_results(folder, metrics)
    if earlier is not None and MARKER not in earlier:
        return path
    if licence is None:
        licence = chosen_licence(earlier, base_licence(folder, metrics))
    config = read_config(folder)
    name = (repo or folder.resolve().name).split("/")[-1]
    card = ModelCard.from_template(
        front_matter(name, metrics, licence),
        template_path=str(TEMPLATE),
        **body(name, repo, folder, config, metrics, licence, pictures),
    )
    write_bytes(path, (sealed(str(card)) if repo else str(card)).encode())
    return path


def sealed(text: str) -> str:
    return f"{text.rstrip()}\n<!-- As it was sent: sha256 {digest(text)} -->\n"


def is_as_sent(text: str) -> bool | None:
    """Whether nobody edited a card since; None for one without a seal, of an earlier version of this code."""
    seal = SEAL.search(text.replace("\r\n", "\n"))
    return seal and digest(SEAL.sub("", text.replace("\r\n", "\n"))) == seal[1]


def digest(text: str) -> str:
    return hashlib.sha256(text.replace("\r\n", "\n").rstrip().encode()).hexdigest()


def chosen_licence(earlier: str | None, base: str | None, hub: str | None = None) -> str:
    """Of the card that lay there, where it was chosen: apache-2.0 or the base model's in one that was never sent may be nobody's
    choice. Otherwise `hub`, that of where it is sent to, and then the base model's."""
    kept = earlier and licence_of(earlier)
    if kept and (kept not in (LICENCE, base) or SEAL.search(earlier)):
        return kept
    return hub or base or kept or LICENCE


def base_licence(folder: Path, metrics: dict) -> str | None:
    """What the card of the model that this one was made from names: on the Hub, or in the folder that the run's settings name. None:
    it names none, or cannot be read now, and no card waits for that."""
    if not metrics.get("base_model"):
        return None
    with suppress(Exception):
        if base := base_id(metrics):
            found = HfApi().model_info(base, timeout=ANSWER_SECONDS).card_data.license
        else:
            begun = Path(yaml.safe_load((folder / "train.yaml").read_text("utf-8"))["model"])
            found = licence_of((begun / README).read_text("utf-8"))
        return found if isinstance(found, str) else None
    return None


def base_id(metrics: dict) -> str | None:
    """USER/NAME of the model on the Hub that this one was made from; a revision may stand behind it."""
    name = (metrics.get("base_model") or "").partition("@")[0]
    return name if is_hub_id(name) else None


def licence_of(card: str):
    """What a card's front matter names, which may be anything. Raises ValueError or YAMLError where that cannot be read."""
    return ModelCard(card, ignore_metadata_errors=True).data.license


def read_config(folder: Path) -> ViTConfig:
    try:
        return ViTConfig.from_json_file(str(folder / "config.json"))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder.name} has no readable config.json: give the folder that training wrote") from error


def body(name: str, repo: str | None, folder: Path, config: ViTConfig, metrics: dict, licence: str, pictures: bool) -> dict:
    """Everything that card_template.md names."""
    labels = [words.plain(label) for label in config.id2label.values()]
    more = f" and {len(labels) - words.MOST_CLASSES} more" if len(labels) > words.MOST_CLASSES else ""
    return {
        "name": words.plain(name),
        "what": words.what(config, metrics),
        "size": pixels(config.image_size),
        "patch": pixels(config.patch_size),
        "patches": math.prod(patch_grid(config)),
        "classes": labels,
        "shown_classes": ", ".join(labels[: words.MOST_CLASSES]) + more,
        "headline": words.headline(metrics),
        "result_note": words.result_note(metrics),
        "conditions": words.conditions(metrics),
        "per_class": words.class_rows(metrics),
        "figures": [{"file": file, "alt": alt, "caption": caption} for file, (alt, caption) in CAPTIONS.items()
                    if (folder / file).exists() and (pictures or file != figures.MISTAKES)],
        "data": words.data(metrics, is_hub_id(metrics.get("dataset", {}).get("name")), bank_pictures(folder) if pictures else 0),
        "command": metrics.get("command"),
        "run": words.run(metrics),
        "earlier": words.earlier(metrics),
        "recipe": words.recipe(metrics),
        "source": repo or name,
        "app": shlex.join(["python", "app.py", "--model", repo or name]),
        "calibration": words.calibration(metrics),
        "licence": words.licence(licence, metrics),
        "cite": words.cite(name, repo, metrics),
        "marker": MARKER,
    }


def pixels(value) -> str:
    height, width = sides(value)
    return f"{width} × {height} px"


def front_matter(name: str, metrics: dict, licence: str) -> ModelCardData:
    dataset = metrics.get("dataset", {}).get("name")
    return ModelCardData(
        license=licence,
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model=base_id(metrics),
        datasets=[dataset] if is_hub_id(dataset) else None,
        metrics=["accuracy"],
        tags=["image-classification", "vision-transformer", "vit", "vit-demo"],
        model_name=name,
        eval_results=eval_results(metrics) or None,
    )


def eval_results(metrics: dict) -> list[EvalResult]:
    """What the Hub shows beside a model (model-index in the front matter): accuracy and loss on the split they were measured on."""
    kind, dataset = words.measured_kind(metrics), metrics.get("dataset", {})
    if kind is None:
        return []
    name = words.measured_on(metrics) or "unnamed dataset"
    own = words.measured_split(metrics)
    split, held_out = (own, "") if own else (dataset.get("train_split"), " on held-out training pictures")
    where = dict(task_type="image-classification", task_name="Image Classification", dataset_type=name, dataset_name=name.split("/")[-1],
                 dataset_config=None if "test_name" in dataset else dataset.get("config"), dataset_split=split)
    return [
        EvalResult(metric_type=metric, metric_name=f"{kind.capitalize()} {metric}{held_out}", metric_value=round(metrics[f"{kind}_{metric}"], 6), **where)
        for metric in ("accuracy", "loss")
        if f"{kind}_{metric}" in metrics
    ]


def write_eval_results(folder: Path, metrics: dict) -> Path | None:
    """.eval_results/NAME.yaml, the Hub's own format, for a test accuracy on a dataset of the Hub; otherwise none."""
    place = folder / EVAL_RESULTS
    dataset = words.measured_on(metrics)
    if words.measured_kind(metrics) != "test" or not is_hub_id(dataset):
        for stale in place.glob("*.yaml"):
            stale.unlink()
        return None
    entry = EvalResultEntry(
        dataset_id=dataset,
        task_id="default",
        value=round(metrics["test_accuracy"], 6),
        notes=f"accuracy, the share of right answers; {words.conditions(metrics)}",
    )
    place.mkdir(exist_ok=True)
    path = place / f"{dataset.split('/')[-1]}.yaml"
    write_bytes(path, yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, width=1000).encode())
    return path


def is_hub_id(name: str | None) -> bool:
    """USER/NAME, and no folder of that name lies here."""
    if not name or name.count("/") != 1 or Path(name).is_dir():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
