"""The settings, and the recipes that the project brings."""

import dataclasses

import pytest

from tests.runs import dataset, flags  # noqa: F401 (dataset is a fixture)
from training.augment import mix_plan
from training.config import PRESETS, TrainConfig, preset_names, read_preset
from training.train import main


def test_every_recipe_writes_what_the_app_compares_with():
    assert {TrainConfig(**read_preset(name)).bank for name in preset_names()} == {500}


def test_every_preset_is_whole():
    assert {"cifar-patch4", "cifar-patch2", "fine-tune", "fine-tune-cpu", "tiny-cpu"} == set(preset_names())
    for name in preset_names():
        TrainConfig(**read_preset(name))
        assert (PRESETS / f"{name}.yaml").read_text().startswith("# ")  # says what it is for


@pytest.mark.parametrize(("epochs", "share", "told"), [(1, 0.5, True), (2, 0.5, False), (3, 0.7, True), (3, 0.6, False), (1, 0.0, False), (1, 1.0, False)])
def test_a_share_of_the_training_that_ends_up_to_be_all_of_it_is_told(epochs, share, told):
    mixing = TrainConfig(epochs=epochs, mixup=0.8, mix_until=share, patch_dropout_until=share)
    assert mixing.to_the_end() == [f"--mix-until {share:g} counts in whole epochs, rounded up: with --epochs {epochs} that is all of them, as without it"] * told
    assert (share == 1 or told) is (mix_plan(mixing, epochs - 1, 8, 8) is not None)  # as it is
    dropping = TrainConfig(epochs=epochs, patch_dropout=0.5, mix_until=share, patch_dropout_until=share)
    assert [line.split()[0] for line in dropping.to_the_end()] == ["--patch-dropout-until"] * told
    assert (share == 1 or told) is (dropping.patches_dropped(epochs - 1) > 0)
    both = [field.metadata["help"] for field in dataclasses.fields(TrainConfig) if field.name.endswith("_until")]
    assert len(both) == 2 and all("in whole epochs, rounded up" in text for text in both)


def test_the_plan_of_a_run_has_that_line(dataset, tmp_path, capsys):
    main(flags(dataset, tmp_path / "run", "--epochs", "1", "--mixup", "0.8", "--mix-until", "0.5", "--dry-run"))
    assert "process(es)\n--mix-until 0.5 counts in whole epochs, rounded up: with --epochs 1 that is all of them" in capsys.readouterr().out


def test_the_help_tells_how_large_a_bank_may_get():
    [told] = [field.metadata["help"] for field in dataclasses.fields(TrainConfig) if field.name == "bank"]
    assert told.endswith("(0: none; never more than 500, or than fit into 4 MB)")
