"""The benchmark of refusals measures what it says: of a process of its own, the refusal, its bytes and its memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import hostile


def test_two_refusals_are_measured_and_told_in_one_line(tmp_path):
    code = ("import sys; from pathlib import Path; from benchmarks import hostile; hostile.RESULTS = Path(sys.argv.pop()); "
            "hostile.main(['--only', 'no config', 'not a number', '--write'])")
    # In a process of its own: its server of processes takes the environment that it finds when the first one starts.
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "hostile.json")], capture_output=True, text=True, timeout=300, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["repositories"] == line["refused"] == 2 and line["bounds"] == {"seconds": 2, "peak_mb": 600}
    kept = json.loads((tmp_path / "hostile.json").read_text())
    assert line.items() <= kept.items() and {"device", "versions", "date", "command", "load_average"} <= set(kept)
    small, whole = (kept["cases"][case] for case in ("no config", "not a number"))
    assert "holds no config.json" in small["refusal"] and "no finite numbers" in whole["refusal"]
    assert whole["bytes_fetched"] > 270_000 > 5_000 > small["bytes_fetched"]  # the one is seen before the weights, the other in them
    assert 50 < small["peak_mb"] - small["added_mb"] and whole["added_mb"] > small["added_mb"] >= 0
    assert line["most_fetched"] == {"case": "not a number", "bytes_fetched": whole["bytes_fetched"]}


def test_beyond_a_bound_is_said(monkeypatch):
    facts = {"refusal": "it: no", "seconds": 0.1, "cpu_seconds": 0.1, "peak_mb": 300.0, "added_mb": 5.0, "bytes_fetched": 10, "requests": 1}
    assert hostile.summary({"a": facts})["within_bounds"]
    for change in ({"refusal": ""}, {"seconds": 2.1}, {"peak_mb": 601.0}):
        assert not hostile.summary({"a": facts, "b": facts | change})["within_bounds"]


def test_a_case_that_is_none_is_named():
    with pytest.raises(SystemExit, match="no case nothing; there are no config"):
        hostile.main(["--only", "nothing"])
