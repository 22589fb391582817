"""The benchmarks keep their contracts at a tiny size: the speed line's keys and order of work; the record run's protocol."""

import json
import math

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import ViTConfig, ViTForImageClassification

from benchmarks import pace, record_run, train_speed
from tests.training_data import parquet_dataset
from training import checkpoint, pretrain, train
from training.config import TrainConfig, read_preset
from training.optim import WeightAverage, make_optimizers
from vit_demo.errors import UserError

SHAPE = dict(image_size=8, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
ARCHITECTURE = SHAPE | dict(patch_size=2)


@pytest.fixture(autouse=True)
def _clean_state():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_float32_matmul_precision("highest")


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


PLAN = {"pretrain": {"preset": "tiny-cpu", **ARCHITECTURE, "decoder_hidden_size": 32, "decoder_layers": 1, "batch_size": 16, "epochs": 1},
        "train": {"preset": "tiny-cpu", "image_size": 8, "batch_size": 12, "bank": 0},
        "choose": {"validation_images": 12, "epochs": 1},
        "candidates": {"still": {"learning_rate": 1e-9, "muon_learning_rate": 1e-9, "warmup": 1.0}, "moving": {"learning_rate": 0.01, "muon_learning_rate": 0.03}},
        "final": {"epochs": 2, "seeds": [3]}}


def perform(module: str, arguments: list[str]) -> int:
    """A stage in this process."""
    try:
        {"training.train": train, "training.pretrain": pretrain}[module].main(arguments)
    except SystemExit as left:
        return left.code
    return 0


@pytest.fixture
def command(tmp_path, monkeypatch):
    """record_run's main with its files in the test's folder."""
    monkeypatch.setattr(record_run, "perform", perform)
    monkeypatch.setattr(record_run, "FINISHING", 0.0)
    dataset, plan = parquet_dataset(tmp_path / "pictures"), tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(PLAN))

    def run(output: str, *more: str, plan=plan) -> bool:
        return record_run.main(["--dataset", str(dataset), "--output", str(tmp_path / output), "--plan", str(plan), "--reads", str(tmp_path / "reads.jsonl"), *more])

    return run


def test_the_record_run_keeps_its_protocol(command, tmp_path, monkeypatch, capsys):
    order = []
    monkeypatch.setattr(record_run, "perform", lambda module, arguments: order.append((tmp_path / "run" / "recipe.json").exists()) or perform(module, arguments))
    assert command("run")
    metrics = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "run").glob("*/metrics.json")}
    assert order == [False, False, False, True]  # pretraining and two candidates, then the declaration, then the final run
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["validation_accuracy"] == {name: metrics[f"choose-{name}"]["validation_accuracy"] for name in ("still", "moving")}
    assert recipe["chosen"] == max(recipe["validation_accuracy"], key=recipe["validation_accuracy"].get)
    chosen = [m for name, m in metrics.items() if name.startswith("choose-")]
    assert all("test_accuracy" not in m and m["dataset"]["train_images"] == 36 for m in chosen)
    final = metrics["final-seed3"]
    assert (final["dataset"]["train_images"], final["seed"], final["epochs"], final["settings"]["keep"]) == (48, 3, 2, "last")
    command("run")  # nothing is left to do, and the test pictures are not read again
    assert len(order) == 4
    [read] = [json.loads(line) for line in (tmp_path / "reads.jsonl").read_text().splitlines()]
    assert read["accuracy"] == final["test_accuracy"] and {"date", "model", "command", "seed", "note"} <= set(read)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["done"] and result["test_accuracy"] == [final["test_accuracy"]] and result["seeds"] == [3]
    assert result["validation_accuracy"] == max(recipe["validation_accuracy"].values())
    assert result["ship"] == (result["validation_accuracy"] > (result["bundled_validation_accuracy"] or 0))
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump({**PLAN, "final": {"epochs": 3, "seeds": [3]}}))
    with pytest.raises(UserError, match="the plan is not the one"):
        command("run", plan=changed)


def test_a_run_moves_between_machines_without_a_trace(command, tmp_path, monkeypatch):
    monkeypatch.setitem(PLAN, "candidates", {"moving": PLAN["candidates"]["moving"]})
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    assert command("whole")
    stops = iter([True, False, True, False, True, True, False])  # in pretraining, in choosing, twice in the final run
    monkeypatch.setattr(record_run, "perform", lambda module, arguments: perform(module, [*arguments[:-1], "1e-6" if next(stops) else "0"]))
    here, moves = "machine0", 0
    while not command(here, "--parts", str(tmp_path / f"parts{moves}"), *(["--from-parts", str(tmp_path / f"parts{moves - 1}")] if moves else [])):
        moves += 1
        here = f"machine{moves}"
    assert moves == 4 and not list(stops)
    one, other = (load_file(tmp_path / name / "final-seed3" / "model.safetensors") for name in ("whole", here))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_state_of_the_record_run_fits_through_the_door(monkeypatch):
    recipe = read_preset("cifar-patch4")
    config = TrainConfig(**recipe)
    model = ViTForImageClassification(ViTConfig(num_labels=10, **{name: recipe[name] for name in SHAPE}))
    optimizers, average = make_optimizers(model, config, fused=False), WeightAverage(model, config.ema)
    monkeypatch.setattr("training.optim.orthogonalise", lambda matrices: matrices)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    assert model.num_parameters() <= 6e6
    sizes = [sum(t.numel() * t.element_size() for t in shard.values()) for shard in checkpoint.shards(checkpoint.flatten(model, optimizers, average))]
    assert max(sizes) <= 15 * 2**20 and sum(sizes) <= 52 * 2**20 and math.ceil(sum(sizes) / (15 * 2**20)) <= 4
