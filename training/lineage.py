"""Where a run comes from: which weights it went on from, and which data set a folder really holds."""

import os
import shlex
from pathlib import Path

from training.report import read_metrics, source_name
from vit_demo import hub_address

TOLD = ("command", "epochs", "best_epoch", "images_seen", "seconds", "device", "dataset", "note")  # of each earlier run; the note is a person's, if any
LEARNED, SEEN = "learned", "seen without labels"  # what earlier runs did with pictures that a later one chooses or measures on
ANSWER_SECONDS = 10  # for the Hub to tell something about the model that a run begins with
# A folder may hold an exact copy of a public data set. The fingerprint of all its pictures of a kind (report.combined) says so.
KNOWN_TRAIN = {"d29b2058d15af9eda384785c16f2c728319e7a0e5d4011bccbca5f3b1eac9d91": "uoft-cs/cifar10"}
KNOWN_TEST = {"4e39b9ff0b1b5d55828807e860e7f001ebf4f4f5ce9cbfdedd28db992860f3c9": "uoft-cs/cifar10"}


def descent(model: str | None) -> dict:
    """--model -> {"base_model", "earlier"}: the weights of others that all began with (None: from scratch), and our own runs
    since then, oldest first. A folder that no run of ours wrote is itself what all began with."""
    if model is None:
        return {"base_model": None, "earlier": []}
    folder = Path(model)
    metrics = read_metrics(folder) if folder.is_dir() else {}
    if "base_model" not in metrics or "command" not in metrics:
        return {"base_model": base_name(model), "earlier": []}
    return {"base_model": metrics["base_model"], "earlier": [*metrics.get("earlier", []), {name: metrics[name] for name in TOLD if name in metrics}]}


def located(model: str) -> hub_address.Address:
    """--model -> the folder, or the name on the Hub and the revision there. As for the app, a name may have a revision behind it,
    USER/NAME@REVISION, or be the address of its page."""
    if os.path.isdir(model) or not ("@" in model or hub_address.SITE.match(model)):
        return hub_address.Address(model, None)
    return hub_address.parse(model)


def base_name(model: str) -> str:
    """A folder's last part, or a name on the Hub without the revision or the page's address that was typed."""
    return source_name(located(model).id)


def base_revision(model: str | None) -> str | None:
    """The commit on the Hub that --model names; the settings of a run do, where the Hub could tell it when the run was started."""
    address = located(model) if model else None
    return address.revision if address and address.pinned else None


def runs_of(metrics: dict) -> list[dict]:
    """A model's own run and the earlier ones, as far as its metrics tell; a stranger's may be anything."""
    earlier = metrics.get("earlier")
    return [run for run in [*(earlier if isinstance(earlier, list) else []), metrics] if isinstance(run, dict) and isinstance(run.get("dataset"), dict)]


def is_named(run: dict, dataset: str) -> bool:
    """Whether it learned from a data set of that name: its own, or that of the public one which a folder is a copy of."""
    name = source_name(dataset)
    return run["dataset"].get("name") == name or f" --dataset {shlex.quote(name)} " in f"{run.get('command')} "


def known_before(config, splits) -> str | None:
    """LEARNED or SEEN, where the weights that a run begins with may know pictures of the training split that it chooses or measures
    on: by an earlier run of ours that held out fewer of them, or others. The same ones are held out by the same flags, whatever the
    seed, as long as `held_out_by` is the same."""
    folder = Path(config.model or "")
    metrics = read_metrics(folder) if config.model and folder.is_dir() else {}
    chosen = 0 if splits.validation is None or splits.validation_split else len(splits.validation)
    measured = splits.held_out_part == "held_out"
    found = None
    for run in runs_of(metrics) if chosen or measured else []:
        data = run["dataset"]
        apart = 0 if data.get("validation_split") else data.get("validation_images", 0)
        if (is_named(run, config.dataset) and (data.get("config"), data.get("train_split")) == (config.dataset_config, config.train_split)
                and (apart < chosen or measured and "held_out_images" not in data or data.get("held_out_by") != splits.held_out_by)):
            if "training.pretrain" not in str(run.get("command")):
                return LEARNED
            found = SEEN
    return found


def about_known(known: str | None) -> list[str]:
    """The line for whoever starts the run."""
    if known is None:
        return []
    told = "learned from" if known == LEARNED else "saw, without labels,"
    return [f"{'warning' if known == LEARNED else 'note'}: an earlier run of this model {told} pictures that this one chooses or measures on"
            + (", so their accuracy says little: hold out as many from the start (--validation-images), or take another split" if known == LEARNED else "")]


def dataset_name(source: str, fingerprint: str | None) -> str:
    """How others call the data set whose training split has this fingerprint: its Hub id, or, of a folder of which nothing is known,
    the folder's name."""
    return KNOWN_TRAIN.get(fingerprint) or source_name(source)


def known_test(name: str, fingerprint: str) -> dict[str, str]:
    """{"test_name"}: the data set that the test pictures are, to the last one, where what was learned from has another name."""
    known = KNOWN_TEST.get(fingerprint, name)
    return {"test_name": known} if known != name else {}
