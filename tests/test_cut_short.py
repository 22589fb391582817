"""A run that stopped on the way becomes a model that another run goes on from, and the card tells of both."""

import json

import pytest

from benchmarks import cut_short
from tests.runs import RANDOM, again, dataset, flags  # noqa: F401 (dataset is a fixture)
from tests.test_resume import stop_after
from training import checkpoint, train
from training.report import read_metrics
from training.train import main
from vit_demo.classifier import load
from vit_demo.errors import UserError


def test_the_weights_and_what_made_them_go_on(dataset, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        patch.setattr(train, "device_name", lambda device: "a lent GPU")
        with pytest.raises(SystemExit):
            main(flags(dataset, tmp_path / "run", *RANDOM))
        for device in ("a lent GPU", "another"):
            patch.setattr(train, "device_name", lambda _, device=device: device)
            with pytest.raises(SystemExit):
                main(again(tmp_path / "run", "--stop-after", "0.00001"))
    elsewhere = dataset.rename(dataset.with_name("elsewhere"))  # as on another machine
    try:
        with pytest.raises(UserError, match="no dataset"):
            cut_short.main([str(tmp_path / "run"), str(tmp_path / "cut")])
        cut_short.main([str(tmp_path / "run"), str(tmp_path / "cut"), "--dataset", str(elsewhere)])
    finally:
        elsewhere.rename(dataset)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["step"] == 10
    average = {name.removeprefix("average."): tensor for name, tensor in checkpoint.load(checkpoint.newest_complete(tmp_path / "run" / "state"))[0].items() if name.startswith("average.")}
    opened = load(str(tmp_path / "cut"))
    assert opened.labels == load_labels(dataset) and all((tensor == dict(opened.model.named_parameters())[name]).all() for name, tensor in average.items())
    output = main(["--dataset", str(dataset), "--output", str(tmp_path / "end"), "--preset", "tiny-cpu", "--model", str(tmp_path / "cut"), "--epochs", "1", "--batch-size", "8", "--bank", "0"])
    told = read_metrics(output)["earlier"]
    assert [(run["images_seen"], run["device"], run["note"]) for run in told] == [(80, "a lent GPU, then another", "stopped after step 10, 1 of 3 epochs")]
    assert told[0]["dataset"]["validation_images"] == 0  # by which a later run knows that it had learned from all
    assert "a lent GPU, then another" in (output / "README.md").read_text() and "head is replaced" not in capsys.readouterr().out


def load_labels(dataset) -> tuple[str, ...]:
    from training.source import open_dataset

    return tuple(open_dataset(str(dataset))["train"].features["label"].names)


def test_what_cannot_be_done_is_said(tmp_path):
    (tmp_path / "there").mkdir()
    for words, line in (([tmp_path, tmp_path / "there"], "there is there already"), ([tmp_path, tmp_path / "new"], "no complete state in")):
        with pytest.raises(UserError, match=line):
            cut_short.main([*map(str, words)])
