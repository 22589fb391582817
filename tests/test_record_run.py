"""The record run at a tiny size: its protocol, its time, what fails in it; and the plan's budget."""

import json
import shutil
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file

from benchmarks import record_run, record_stage, train_speed
from tests.record_stages import PLAN, command, dataset, perform, play, unpacked  # noqa: F401 (command, dataset and play are fixtures)
from tests.runs import anew  # noqa: F401 (a fixture)
from training import pretrain
from training.config import TrainConfig, read_preset
from vit_demo.errors import UserError


pytestmark = pytest.mark.usefixtures("anew")


def test_the_record_run_keeps_its_protocol(command, tmp_path, monkeypatch, capsys):
    order = []
    monkeypatch.setattr(record_stage, "perform", lambda *given: order.append((tmp_path / "run" / "recipe.json").exists()) or perform(*given))
    assert command("run")
    metrics = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "run").glob("*/metrics.json")}
    assert order == [False, False, False, True]  # pretraining and two candidates, then the declaration, then the final run
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["validation_accuracy"] == {name: metrics[f"choose-{name}"]["validation_accuracy"] for name in ("still", "moving")}
    assert recipe["chosen"] == max(recipe["validation_accuracy"], key=recipe["validation_accuracy"].get) and recipe["failed"] == []
    chosen = [m for name, m in metrics.items() if name.startswith("choose-")]
    assert all("test_accuracy" not in m and m["dataset"]["train_images"] == 36 for m in chosen)
    final = metrics["final-seed3"]
    assert (final["dataset"]["train_images"], final["seed"], final["epochs"], final["settings"]["keep"]) == (48, 3, 2, "last")
    assert final["settings"]["test_split"] == "test"  # named, so that a run without these pictures is refused and holds none out
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


def test_a_plan_without_a_choice_declares_its_only_recipe_and_goes_on_from_a_model(command, tmp_path, capsys):
    assert command("first")
    begun = tmp_path / "first" / "final-seed3"
    plan = {"train": {**PLAN["train"], "model": str(begun)}, "candidates": {"moving": PLAN["candidates"]["moving"]}, "final": {"epochs": 1, "seeds": [4]}}
    (tmp_path / "onward.yaml").write_text(yaml.safe_dump(plan))
    assert command("onward", plan=tmp_path / "onward.yaml")
    recipe = json.loads((tmp_path / "onward" / "recipe.json").read_text())
    assert (recipe["chosen"], recipe["validation_accuracy"]) == ("moving", {})
    final = json.loads((tmp_path / "onward" / "final-seed4" / "metrics.json").read_text())
    assert [run["epochs"] for run in final["earlier"]] == [1, 2] and final["settings"]["muon_learning_rate"] == 0.03  # pretraining, the first run; then its own
    assert json.loads((tmp_path / "reads.jsonl").read_text().splitlines()[-1])["accuracy"] == final["test_accuracy"]
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["ship"] and result["validation_accuracy"] is None
    (tmp_path / "onward.yaml").write_text(yaml.safe_dump({**plan, "candidates": PLAN["candidates"]}))
    with pytest.raises(UserError, match="several candidates and no `choose`"):
        command("other", plan=tmp_path / "onward.yaml")


def test_a_run_moves_between_machines_without_a_trace(command, tmp_path, monkeypatch):
    monkeypatch.setitem(PLAN, "candidates", {"moving": PLAN["candidates"]["moving"]})
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    assert command("whole")
    stops = iter([True, False, True, False, True, True, False])  # in pretraining, in choosing, twice in the final run
    monkeypatch.setattr(record_stage, "perform", lambda module, arguments, seconds: perform(module, [*arguments[:-1], "1e-6" if next(stops) else "0"], seconds))
    here, moves = "machine0", 0
    while not command(here, "--parts", str(tmp_path / f"parts{moves}"), *(["--from-parts", str(tmp_path / f"parts{moves - 1}")] if moves else [])):
        moves += 1
        shutil.rmtree(tmp_path / here)  # a machine that was given back
        here = f"machine{moves}"
    assert moves == 4 and not list(stops)
    one, other = (load_file(tmp_path / name / "final-seed3" / "model.safetensors") for name in ("whole", here))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_candidate_that_fails_is_out_of_the_choice_and_nothing_is_lost(command, play, tmp_path, capsys):
    stages = play(codes={"choose-moving": 2})
    assert command("run", "--parts", str(tmp_path / "parts"))
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (recipe["chosen"], recipe["failed"]) == ("still", ["moving"])
    assert "choose-moving failed with status 2" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "run")
    assert command("run", "--from-parts", str(tmp_path / "parts")) and len(stages.begun) == 4  # it is not tried again


def test_a_stage_that_fails_leaves_the_parts_of_those_before_it(command, play, tmp_path, monkeypatch):
    stages, packed = play(codes={"final-seed3": 2}), []
    monkeypatch.setattr(record_stage, "perform", lambda *given: packed.append((tmp_path / "parts").is_dir()) or stages(*given))
    with pytest.raises(UserError, match="final-seed3 failed with status 2"):
        command("run", "--parts", str(tmp_path / "parts"))
    assert packed == [False, True, True, True]  # after each stage, since a machine may be gone without a word
    assert {"plan.json", "recipe.json", "mae/model.safetensors", "choose-moving/metrics.json"} <= set(unpacked(tmp_path / "parts", tmp_path / "there"))
    play(codes={"choose-still": 2, "choose-moving": 1})
    with pytest.raises(UserError, match="every candidate failed"):
        command("again", "--parts", str(tmp_path / "parts"))
    assert "mae/model.safetensors" in unpacked(tmp_path / "parts", tmp_path / "elsewhere")


@pytest.mark.parametrize("how", [{"refused": {"choose-moving": 2}}, {"codes": {"choose-moving": -9}}], ids=["no data", "killed"])
def test_what_is_not_the_recipes_fault_does_not_put_it_out(command, play, tmp_path, how):
    play(**how)
    with pytest.raises(UserError, match="choose-moving failed with status"):
        command("run")
    stages = play()
    assert command("run") and stages.begun[0][0] == "choose-moving"


@pytest.mark.parametrize("start", [20, 100, 170])
def test_the_time_is_kept_whatever_a_stage_takes(command, play, tmp_path, start):
    stages = play(work=400, start=start)
    calls = 1
    while not command("run", "--minutes", "9", "--parts", str(tmp_path / "parts")):
        assert stages.now <= 9 * 60 - 60 * record_stage.PACKING
        calls, stages.now = calls + 1, 0.0
        assert calls < 20
    assert all(asked >= 60 * (record_stage.LEAST - record_stage.FINISHING) and seconds <= 540 - 60 * record_stage.PACKING for _, asked, seconds in stages.begun)
    with pytest.raises(UserError, match="^--minutes 2.9 is too short for any stage: give 3 or more$"):
        command("other", "--minutes", "2.9")


def test_a_stage_that_does_not_heed_its_time_is_ended(tmp_path, monkeypatch):
    (tmp_path / "deaf.py").write_text("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n")
    (tmp_path / "willing.py").write_text("import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(record_stage, "GRACE", 0.5)
    started = time.monotonic()
    assert record_stage.perform("deaf", [], 1.0) == record_stage.perform("willing", [], 1.0) == record_stage.STOPPED
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("path", sorted(record_run.PLAN.parent.glob("record*.yaml")), ids=lambda path: path.stem)
def test_a_plan_can_be_begun(path, tmp_path):
    plan = yaml.safe_load(path.read_text())
    record_run.Record(plan, "somewhere", tmp_path / "run").check_plan()
    for candidate in plan["candidates"].values():
        config = TrainConfig(**{**read_preset(plan["train"]["preset"]), **plan["train"], **candidate, "epochs": plan["final"]["epochs"]})
        assert config.model is None or (record_run.PLAN.parent.parent / config.model / "model.safetensors").is_file()


@pytest.mark.parametrize("file, least, most", [("record.yaml", 12, 15), ("record_15_minutes.yaml", 8, 9.5)])
def test_a_plan_fits_the_time_that_it_was_made_for(file, least, most):
    """Minutes of steps at 12 % of 989 TFLOP/s, of 24 and 14; what else they hold is told in benchmarks/README.md."""
    plan = yaml.safe_load(record_run.PLAN.with_name(file).read_text())
    config = pretrain.PretrainConfig(**{**pretrain.PretrainConfig.from_preset(plan["pretrain"]["preset"]), **plan["pretrain"], "output": "unused"})
    with torch.device("meta"):
        masked, _ = pretrain.build(config, ())
    chosen, common = plan["choose"], read_preset(plan["train"]["preset"]) | plan["train"]
    for candidate in plan["candidates"].values():
        TrainConfig(**{**common, **candidate, **chosen, "test_split": "none"})
    flops = train_speed.training_flops(TrainConfig(**common))
    seen = len(plan["candidates"]) * chosen["epochs"] * (50_000 - chosen["validation_images"]) + plan["final"]["epochs"] * len(plan["final"]["seeds"]) * 50_000
    encoder, decoder = (sum(p.numel() for p in part.parameters() if p.ndim == 2) for part in (masked.vit.layers, masked.decoder))
    masked_flops = 6 * (17 * encoder + 65 * decoder)  # 16 of 64 patches are seen
    total = plan["pretrain"]["epochs"] * 50_000 * masked_flops + seen * flops
    assert least <= total / (0.12 * 989e12) / 60 <= most
