"""benchmarks/explain_speed.py keeps its contract on a tiny model: a trace, every chapter and the first screen are timed."""

import json
import shutil

import pytest
import torch

from benchmarks import explain_speed
from tests.models import save_model
from vit_demo import questions
from vit_demo.chapters import CHAPTERS
from vit_demo.errors import UserError


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here: apt-get install chromium")
def test_everything_is_timed_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(explain_speed, "RESULTS", tmp_path)
    explain_speed.main(["--model", str(save_model(tmp_path / "model")), "--repeats", "1", "--visits", "1", "--write"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["model"]
    assert list(found) == ["trace", "chapters_s", "first_screen"]
    assert {name: set(times) for name, times in found["chapters_s"].items()} == {chapter.NAME: {"scene", *questions.ASKED.get(chapter, ())} for chapter in CHAPTERS}
    assert min(time for chapter in found["chapters_s"].values() for time in chapter.values()) > 0
    assert found["trace"]["ratio"] > 0 and found["first_screen"]["ours_s"] > 0
    kept = json.loads((tmp_path / "explain_speed.json").read_text())
    assert kept["model"] == found and {"device", "versions", "command", "date", "threads"} <= set(kept)


def test_a_missing_browser_is_named():
    with pytest.raises(UserError, match="no browser 'no-such-browser' here: apt-get install chromium"):
        explain_speed.found_browser("no-such-browser")
