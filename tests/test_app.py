"""app.py's options, and what a wrong one gets."""

import subprocess
import sys
from pathlib import Path

import pytest

import app

ROOT = Path(__file__).parent.parent


def test_the_model_comes_from_the_option_then_from_the_environment(monkeypatch):
    assert app.options([]).model is None
    monkeypatch.setenv("VIT_DEMO_MODEL", "user/from-environment")
    assert app.options([]).model == "user/from-environment"
    assert app.options(["--model", "user/named"]).model == "user/named"


def test_the_defaults_are_loopback_one_thread_and_nothing_shared():
    chosen = app.options([])
    assert (chosen.host, chosen.port, chosen.threads, chosen.share) == (None, None, 1, False)


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        app.main(["--model", str(tmp_path)])
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and told.startswith("error: ") and told.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--port", "99999"], ["--port", "x"]])
def test_numbers_that_make_no_sense_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        app.options(arguments)
    assert stopped.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_help_is_there_at_once_and_names_every_option():
    told = subprocess.run([sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(option in told for option in ("--model", "--host", "--port", "--threads", "--share", "VIT_DEMO_MODEL"))


def test_importing_the_page_starts_nothing():
    code = ("import sys, threading, vit_demo.page, vit_demo.chapters\n"
            "assert threading.active_count() == 1, threading.enumerate()\n")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, env={
        "PATH": "", "GRADIO_ANALYTICS_ENABLED": "False", "PYTHONPATH": str(ROOT)})
