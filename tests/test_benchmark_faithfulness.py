import json

import pytest
import torch
from PIL import Image

from benchmarks.faithfulness import main
from tests.tiny import save_tiny_model
from vit_demo.errors import UserError
from vit_demo.explain.methods import METHODS


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three noisy pictures of each of two classes, in train and test."""
    folder, generator = tmp_path_factory.mktemp("pictures"), torch.Generator().manual_seed(0)
    for name in [f"{split}/{kind}/{i}.png" for split in ("train", "test") for kind in ("cat", "dog") for i in range(3)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = torch.randint(0, 256, (16, 16, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(noise.numpy()).save(folder / name)
    return folder


def run(data, model, *more):
    return main(["--data", str(data), "--model", str(model), "--pictures", "2", *more])


def test_the_last_line_tells_every_map_and_random(data, tmp_path, capsys):
    output = tmp_path / "result.json"
    run(data, save_tiny_model(tmp_path / "model"), "--output", str(output))
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(told) == {*METHODS, "random"}
    for row in told.values():
        assert row["difference"] == pytest.approx(row["insertion"] - row["deletion"], abs=2e-4)
        assert row["ci95"][0] <= row["difference"] <= row["ci95"][1]
        for key in ("insertion", "deletion"):
            assert row[key] == pytest.approx((row["drop"][key] + row["mean"][key]) / 2, abs=2e-4)
    saved = json.loads(output.read_text())
    assert saved["test"] == told
    assert saved["best_on_train"] == max(METHODS, key=lambda name: saved["train"][name]["difference"])


def test_a_stopped_run_goes_on_where_it_was(data, tmp_path):
    model, rows = save_tiny_model(tmp_path / "model"), tmp_path / "rows.jsonl"
    whole = run(data, model, "--rows", str(rows))
    lines = rows.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 2 + 2
    rows.write_text("".join(lines[:3]) + lines[3][:20])  # stopped while it wrote the first test picture
    again = run(data, model, "--rows", str(rows))
    assert rows.read_text().splitlines(keepends=True)[:3] == lines[:3]
    for name in whole:
        assert {k: v for k, v in whole[name].items() if k != "seconds"} == {k: v for k, v in again[name].items() if k != "seconds"}


def test_a_map_that_changed_is_measured_anew_without_the_others(data, tmp_path):
    model, rows, output = save_tiny_model(tmp_path / "model"), tmp_path / "rows.jsonl", tmp_path / "result.json"
    keep = ["--rows", str(rows), "--output", str(output), "--beside"]
    whole = run(data, model, *keep[2:])
    run(data, model, "--maps", "presence", *keep)
    alone = main(["--data", str(data), "--model", str(model), "--pictures", "1", "--maps", "shapley", *keep])
    assert set(alone) == {"shapley"} and alone["shapley"]["pictures"] == 1
    for file in (output, model / "faithfulness.json"):
        told = json.loads(file.read_text())["test"]
        assert set(told) == set(whole) and told["shapley"] == alone["shapley"] and told["chefer"] == whole["chefer"]
        assert {k: v for k, v in told["presence"].items() if k != "seconds"} == {k: v for k, v in whole["presence"].items() if k != "seconds"}
    assert set(json.loads(output.read_text())["default_minus_other_ci95"]) == {"shapley"}  # of the others, the new default was not measured on the same run


def test_more_pictures_are_told_as_more(data, tmp_path):
    model, output = save_tiny_model(tmp_path / "model"), tmp_path / "result.json"
    for pictures in ("1", "2"):
        main(["--data", str(data), "--model", str(model), "--pictures", pictures, "--maps", "chefer", "--rows", str(tmp_path / "rows.jsonl"), "--output", str(output), "--beside"])
        told, beside = json.loads(output.read_text()), json.loads((model / "faithfulness.json").read_text())
        assert {row["pictures"] for row in told["test"].values()} == {told["conditions"]["pictures"]} == {beside["pictures"]} == {int(pictures)}


def test_rows_of_another_model_are_refused(data, tmp_path):
    rows = tmp_path / "rows.jsonl"
    run(data, save_tiny_model(tmp_path / "model"), "--rows", str(rows))
    with pytest.raises(UserError, match="another model"):
        run(data, save_tiny_model(tmp_path / "model", seed=1), "--rows", str(rows))
