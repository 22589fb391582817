"""The speed benchmark keeps its contract at a tiny size: the line's keys and order of work."""

import json

import pytest
import torch

from benchmarks import pace, train_speed
from tests.runs import anew  # noqa: F401 (a fixture)
from training.config import TrainConfig, architectures, preset_names, read_preset
from training.optim import parameter_groups

SHAPE = dict(image_size=8, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)


pytestmark = pytest.mark.usefixtures("anew")


def test_the_speed_line_holds_what_it_promises(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(train_speed.SHAPES, "tiny", SHAPE)
    monkeypatch.setattr(train_speed, "RESULTS", tmp_path)
    train_speed.main(["--model-shape", "tiny", "--batch-size", "8", "--seconds", "0.2", "--pictures", "64", "--precision", "float32", "--compile", "no", "--write"])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(line) == ["device", "model", "batch", "ours_img_s", "trainer_img_s", "trainer_tuned_img_s", "limit_img_s", "mfu"]
    assert (line["model"], line["batch"], line["mfu"]) == ("tiny-8px", 8, None)  # a share of the peak only where the peak is known
    assert all(line[name] > 0 for name in line if name.endswith("img_s"))
    [written] = tmp_path.iterdir()
    kept = json.loads(written.read_text())
    assert line.items() <= kept.items() and set(kept["contenders"]) == set(train_speed.MODES)
    assert kept["contenders"]["trainer_tuned"]["arguments"]["dataloader_num_workers"] >= 1
    assert all(facts["blocks"] >= pace.LEAST_BLOCKS and facts["lowest"] <= facts["images_per_second"] <= facts["highest"] for facts in kept["contenders"].values())


def test_ours_is_measured_with_the_record_recipes_augmentation_and_limit_with_its_average():
    config = train_speed.settings(train_speed.options(["--model-shape", "vit-b16"]))
    recipe = read_preset(train_speed.RECORD)
    for name in ("randaugment", "erasing", "mixup", "cutmix", "mix_probability", "drop_path", "ema", "clip", "label_smoothing"):
        assert getattr(config, name) == recipe[name] != 0
    assert (config.image_size, config.hidden_size, config.optimizer, config.mix_until) == (224, 768, "adamw", 1.0)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_a_shape_when_it_has_an_architecture(name, capsys):
    if name in architectures():
        assert train_speed.settings(train_speed.options(["--model-shape", name])).hidden_size == read_preset(name)["hidden_size"]
    else:
        with pytest.raises(SystemExit):
            train_speed.options(["--model-shape", name])
        assert f"error: argument --model-shape: invalid choice: '{name}' (choose from" in capsys.readouterr().err


def test_the_record_runs_own_step_can_be_measured():
    config = train_speed.settings(train_speed.options(["--optimizer", "muon", "--layer-decay", "0.85"]))
    assert config.optimizer == "muon"
    _, muon = parameter_groups(train_speed.new_model(config), config)
    assert {round(group["lr"] / config.muon_learning_rate, 6) for group in muon} == {round(0.85**above, 6) for above in range(1, 13)}


def test_operations_are_counted_forward_and_backward():
    config = TrainConfig(**SHAPE)
    width, layers, tokens, inner, patches = 16, 2, 5, 32, 4
    block = 4 * tokens * width**2 + 2 * tokens * width * inner + 2 * tokens**2 * width  # multiply-adds
    forward = layers * block + patches * 48 * width + 10 * width
    backward = 2 * forward - patches * 48 * width  # nobody asks for the pixels' gradient
    assert train_speed.training_flops(config) == 2 * (forward + backward)


def test_the_pace_leaves_out_the_warm_up(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: clock[0])
    measured = pace.Pace(batch_size=10, seconds=8.0, device=torch.device("cpu"), warm_up=3)
    for seconds in [100.0] * 3 + [0.5] * 500:
        clock[0] += seconds
        if measured.step():
            break
    assert measured.images_per_second == pytest.approx(20) and measured.steps < 3 + 1 + 20


def test_contenders_in_turns_are_each_measured_by_their_own_steps(monkeypatch):
    clock, taken = [0.0], []
    monkeypatch.setattr(pace.time, "perf_counter", lambda: clock[0])

    def steps(name, seconds):
        while True:
            clock[0] += seconds
            taken.append(name)
            yield

    quick, slow = (pace.Pace(batch_size=10, seconds=6.0, device=torch.device("cpu"), warm_up=2) for _ in range(2))
    pace.in_turns([(steps("quick", 0.25), quick), (steps("slow", 0.5), slow)])
    assert (quick.images_per_second, slow.images_per_second) == (pytest.approx(40), pytest.approx(20))
    assert quick.enough and slow.enough and (quick.block, slow.block) == (3, 2)
    assert "".join(name[0] for name in taken).startswith("qqqqqq" + "sssss" + "qqqss" * 4)  # the first turn warms up and tries one step
