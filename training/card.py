"""The model card: README.md and .eval_results/ of a model folder, from its config.json, metrics.json and extras.json alone.

The words and their order are in card_template.md; this file puts the numbers into them. What was not measured is said to
be so, and a number on held-out training pictures is never called test accuracy.
"""

import math
import shlex
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import ViTConfig

from training import card_words as words
from training import figures
from training.extras import bank_pictures
from training.report import read_metrics, write_bytes
from vit_demo.errors import UserError
from vit_demo.hub_model import patch_grid, sides

README = "README.md"
EVAL_RESULTS = ".eval_results"
LICENCE = "apache-2.0"
TEMPLATE = Path(__file__).with_name("card_template.md")
MARKER = "<!-- Written by training.card from config.json and metrics.json. Delete this line to keep changes made by hand. -->"
CAPTIONS = {
    figures.CURVES: ("Learning curves", "Loss and accuracy, epoch by epoch. Those of training are of augmented, perhaps mixed pictures, against smoothed targets."),
    figures.CONFUSION: ("Confusion matrix", "Each row is a true class; the numbers say, in %, what the model took it for."),
    figures.RELIABILITY: ("Reliability diagram", "How often an answer is right, by the probability it was given with."),
    figures.MISTAKES: ("Most confident mistakes", "The wrong answers the model was surest of."),
}


def write_card(folder: Path | str, repo: str | None = None, licence: str | None = None) -> Path:
    """Writes README.md and .eval_results/*.yaml -> path of README.md. `repo`: where it will lie on the Hub, USER/NAME.

    A README.md without the marker line was changed by hand and stays. The licence of an earlier card stays unless given."""
    folder = Path(folder)
    path = folder / README
    earlier = path.read_text(encoding="utf-8") if path.exists() else None
    metrics = read_metrics(folder)
    write_eval_results(folder, metrics)
    if earlier is not None and MARKER not in earlier:
        return path
    if licence is None:
        licence = earlier and ModelCard(earlier, ignore_metadata_errors=True).data.license or LICENCE
    config = read_config(folder)
    name = (repo or folder.resolve().name).split("/")[-1]
    card = ModelCard.from_template(
        front_matter(name, metrics, licence),
        template_path=str(TEMPLATE),
        **body(name, repo, folder, config, metrics, licence),
    )
    write_bytes(path, str(card).encode())
    return path


def read_config(folder: Path) -> ViTConfig:
    try:
        return ViTConfig.from_json_file(str(folder / "config.json"))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder.name} has no readable config.json: give the folder that training wrote") from error


def body(name: str, repo: str | None, folder: Path, config: ViTConfig, metrics: dict, licence: str) -> dict:
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
        "figures": [{"file": file, "alt": alt, "caption": caption} for file, (alt, caption) in CAPTIONS.items() if (folder / file).exists()],
        "data": words.data(metrics, is_hub_id(metrics.get("dataset", {}).get("name")), bank_pictures(folder)),
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
    dataset, base = metrics.get("dataset", {}).get("name"), metrics.get("base_model")
    return ModelCardData(
        license=licence,
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model=base if is_hub_id(base) else None,
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
    name = dataset.get("name") or "unnamed dataset"
    own = words.measured_split(metrics)
    split, held_out = (own, "") if own else (dataset.get("train_split"), " on held-out training pictures")
    where = dict(task_type="image-classification", task_name="Image Classification", dataset_type=name, dataset_name=name.split("/")[-1],
                 dataset_config=dataset.get("config"), dataset_split=split)
    return [
        EvalResult(metric_type=metric, metric_name=f"{kind.capitalize()} {metric}{held_out}", metric_value=round(metrics[f"{kind}_{metric}"], 6), **where)
        for metric in ("accuracy", "loss")
        if f"{kind}_{metric}" in metrics
    ]


def write_eval_results(folder: Path, metrics: dict) -> Path | None:
    """.eval_results/NAME.yaml, the Hub's own format, for a test accuracy on a dataset of the Hub; otherwise none."""
    place = folder / EVAL_RESULTS
    dataset = metrics.get("dataset", {}).get("name")
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
