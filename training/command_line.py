"""From a command line to checked settings, and from settings to the command line that makes the same run.

A flag beats the YAML file (`--config`), which beats the preset, which beats the default in config.py.
"""

import argparse
import dataclasses
import shlex
from dataclasses import field
from functools import partial
from pathlib import Path

from training.config import TrainConfig, architectures, preset_names, read_preset
from training.lineage import base_revision, located
from training.report import source_name
from training.yaml_settings import read_yaml
from vit_demo.errors import UserError

FINE_TUNE = "fine-tune"  # the recipe when --model is given and no preset is
# Settings that may differ between a run and its resumption: they change no weight.
RUN_ONLY = {"output", "resume", "save_every", "stop_after", "workers", "resident_gb", "auto_accumulate", "tracker", "dry_run"}
# These may lie elsewhere by then: the pictures' fingerprint is compared, and all weights come from the saved state; of the
# model only its shape and its processor are read again.
MOVABLE = {"dataset", "model"}

# Settings that mean something only beside another one, and what turns that on.
MUON, MIXING = ("--optimizer muon", lambda config: config.optimizer == "muon"), ("--mixup or --cutmix", lambda config: config.mixup or config.cutmix)
BESIDE = {"muon_learning_rate": MUON, "muon_weight_decay": MUON, "mix_probability": MIXING, "mix_until": MIXING,
          "patch_dropout_until": ("--patch-dropout", lambda config: config.patch_dropout), "magnitude": ("--randaugment", lambda config: config.randaugment),
          "crop_padding": ("--crop-area 1", lambda config: config.crop_area == 1)}


class Help(argparse.HelpFormatter):
    """Each help text with what applies where the flag is not given: every run has a preset, and that decides."""

    def __init__(self, *given, kind: type[TrainConfig], **more):
        super().__init__(*given, **more)
        self.kind, self.defaults = kind, {f.name: f.default for f in dataclasses.fields(kind)}

    def _get_help_string(self, action) -> str:
        if action.dest not in self.defaults:
            return action.help
        if action.option_strings[0].startswith("--no-"):
            return f"do not {action.help}"
        values: dict = {}
        for preset in architectures() if action.dest in self.kind.SHAPE else sorted(preset_names(), key=lambda name: name != FINE_TUNE):
            values.setdefault(self.kind.from_preset(preset).get(action.dest, self.defaults[action.dest]), []).append(preset)
        told = [f"{', '.join(presets)}: {value}" if len(values) > 1 else f"{value}" for value, presets in values.items() if value is not None]
        return f"{action.help} [{'; '.join(told)}]" if told else action.help


def given_flags(argv: list[str] | None, kind: type[TrainConfig]) -> dict:
    """Only what the command line really says; HfArgumentParser makes the parser from the dataclass."""
    from transformers import HfArgumentParser

    told = [(f.name, f.type, field(default=f.default, metadata={k: f.metadata[k] for k in ("help", "choices") if k in f.metadata}))
            for f in dataclasses.fields(kind) if f.name not in kind.UNUSED]  # the library takes every other key for one of argparse
    parser = HfArgumentParser(
        dataclasses.make_dataclass("Flags", told),
        prog=f"python -m {kind.MODULE}",
        description=f"{kind.DOES} In brackets: what holds where the flag is not given, by preset where they differ.",
        epilog=f"Start: {kind.EXAMPLE}",
        formatter_class=partial(Help, kind=kind),
    )
    parser.add_argument("--config", help="YAML file of settings; flags beat it")
    for action in parser._actions:
        if action.dest not in ("help", "config"):
            action.default = argparse.SUPPRESS
            action.option_strings = [flag for flag in action.option_strings if "_" not in flag]  # help shows one spelling
    given = vars(parser.parse_args(argv))
    return {name: value for name, value in given.items() if not (name == "config" and value is None)}


def parse_config(argv: list[str] | None = None, kind: type[TrainConfig] = TrainConfig) -> TrainConfig:
    """Command line -> checked settings. Raises UserError with one line."""
    given = given_flags(argv, kind)
    from_file = read_settings(Path(given.pop("config")), kind) if "config" in given else {}
    named = {**from_file, **given}
    if named.get("resume"):
        return resumed_config(named, kind)
    if not named.get("dataset"):
        raise UserError("--dataset is missing: a Hub id such as uoft-cs/cifar10, or a folder")
    if not named.get("output"):
        raise UserError("--output is missing: the folder to write the model to")
    model = named.get("model")
    preset = named.get("preset") or (FINE_TUNE if model else None)
    if preset is None:
        raise UserError(f"{kind.WAYS} ({', '.join(architectures())})")
    if not model and "hidden_size" not in read_preset(preset):
        raise UserError(f"--preset {preset} is a recipe for fine-tuning: give --model too, or a preset with an architecture ({', '.join(architectures())})")
    config = kind(**{**kind.from_preset(preset), **named, "preset": preset})
    refuse_idle(given, named, config)
    return config


def read_settings(file: Path, kind: type[TrainConfig]) -> dict:
    """What a file of settings says to this command; it may have been written for the other one."""
    return {name: value for name, value in read_yaml(file, kind).items() if name not in kind.UNUSED}


def refuse_idle(given: dict, named: dict, config: TrainConfig) -> None:
    """Refuse what the run would not heed (mostly as a flag only: presets and saved settings always hold a value), or what could
    only spoil it."""
    model, blocks = named.get("model"), named.get("train_last_blocks")
    if model and (idle := [name for name in config.SHAPE if name in given]):
        raise UserError(f"--{idle[0].replace('_', '-')} {given[idle[0]]} with --model {model}: a pretrained model keeps its own; leave the flag out, or leave --model out to begin from scratch")
    if blocks is not None and not model:
        raise UserError(f"--train-last-blocks {blocks} without --model: the frozen layers would stay random; give --model, or leave the flag out")
    for name, (on, is_on) in BESIDE.items():
        if name in given and not is_on(config):
            raise UserError(f"--{name.replace('_', '-')} {given[name]} without {on}: the run would not heed it; add {on}, or leave the flag out")


def resumed_config(named: dict, kind: type[TrainConfig]) -> TrainConfig:
    """The settings saved in --output; a flag that would change the result is refused."""
    saved = Path(named.get("output") or "") / "train.yaml"
    if not named.get("output") or not saved.is_file():
        raise UserError(f"nothing to resume: {saved} is not there; start without --resume")
    settings = read_settings(saved, kind)
    settings.pop("stop_after", None)  # that was the limit of one start
    for name, value in named.items():
        may_differ = name in RUN_ONLY or name in MOVABLE and settings.get(name)
        if not may_differ and settings.get(name) != value:
            raise UserError(f"--resume with --{name.replace('_', '-')} {value}: the run was started with {settings.get(name)}; leave the flag out, or start another --output")
    if typed_again(named.get("model"), settings.get("model")):
        del named["model"]
    return kind(**{**settings, **named})


def typed_again(model: str | None, saved: str | None) -> bool:
    """Whether --model beside --resume is the one on the Hub that the run began with, whose commit is saved with it."""
    return bool(model and base_revision(saved) and not Path(model).is_dir() and located(model).id == located(saved).id)


def command(config: TrainConfig, image_size: int) -> str:
    """The command line that makes this run: every setting that is not the preset's own. A folder is named, not located.

    image_size: what the model sees; told where the settings leave it to the model though the preset names one."""
    usual = {f.name: f.default for f in dataclasses.fields(config)} | config.from_preset(config.preset)
    unsaid = RUN_ONLY | {"preset"} | (set(config.SHAPE) if config.model else set()) | {name for name, (_, is_on) in BESIDE.items() if not is_on(config)}
    words = ["python", "-m", config.MODULE]
    for name, value in {**dataclasses.asdict(config), "image_size": config.image_size or usual["image_size"] and image_size}.items():
        if name not in unsaid and value != usual[name] or name == "preset" and not (value == FINE_TUNE and config.model):
            shown = source_name(value) if name in ("dataset", "model") else value
            words += [f"--{name.replace('_', '-')}", str(shown)]
    return shlex.join([*words, "--output", Path(config.output).resolve().name])
