"""The recipes that the project brings."""

from training.config import PRESETS, TrainConfig, preset_names, read_preset


def test_every_recipe_writes_what_the_app_compares_with():
    assert {TrainConfig(**read_preset(name)).bank for name in preset_names()} == {500}


def test_every_preset_is_whole():
    assert {"cifar-patch4", "cifar-patch2", "fine-tune", "fine-tune-cpu", "tiny-cpu"} == set(preset_names())
    for name in preset_names():
        TrainConfig(**read_preset(name))
        assert (PRESETS / f"{name}.yaml").read_text().startswith("# ")  # says what it is for
