"""app.py's options, and what a wrong one gets."""

import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import app
from vit_demo import classifier
from vit_demo.checks import LIFTS
from vit_demo.errors import UserError
from vit_demo.hub_model import DEFAULT_LIMITS, NO_LIMITS, read_config

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


@pytest.mark.parametrize("name", ["/nonexistent", "nosuchname", "google/vit@@", "runs/vit/config.json"])
def test_what_is_no_folder_and_no_name_is_refused_before_the_page_opens(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        app.main(["--model", name])
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and told.startswith("error: ") and told.count("\n") == 1


def test_a_taken_port_is_said_in_our_own_words(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as stopped:
            app.main(["--port", str(port)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: cannot listen on 127.0.0.1, port {port}: it is taken, or the address is none of this machine; choose others with --port and --host\n")


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--port", "99999"], ["--port", "x"]])
def test_numbers_that_make_no_sense_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        app.options(arguments)
    assert stopped.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_help_is_there_at_once_and_names_every_option():
    told = subprocess.run([sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(option in told for option in ("--model", "--host", "--port", "--threads", "--share", "--no-limits", "VIT_DEMO_MODEL"))


def test_the_size_limits_are_lifted_by_a_flag_that_names_them_and_that_refusals_name(monkeypatch):
    """VIT-L's config alone: the flag lifts the bounds for what --model names and for what visitors name."""
    vit_l = {"model_type": "vit", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    opened = {}
    monkeypatch.setattr("vit_demo.page.build_page", lambda models: opened.update(models=models) or SimpleNamespace(launch=lambda **_: None))
    for flags, limits in [([], DEFAULT_LIMITS), ([LIFTS], NO_LIMITS)]:
        monkeypatch.setattr(classifier, "load", lambda source, *, limits, **_: limits)
        app.main(flags)
        assert opened["models"].default == limits
        loading = opened["models"].fetch("user/large")
        assert loading.done.wait(10) and loading.classifier == limits
    with pytest.raises(UserError, match=f"is 303,303,682, the limit is 100,000,000; whoever starts the app can lift it with {LIFTS}$"):
        read_config("vit-l", vit_l, DEFAULT_LIMITS)
    assert read_config("vit-l", vit_l, NO_LIMITS).hidden_size == 1024


def test_the_flags_help_tells_the_limits_as_they_are(capsys):
    with pytest.raises(SystemExit):
        app.options(["--help"])
    told, limits = " ".join(capsys.readouterr().out.split()), DEFAULT_LIMITS
    assert (f"{limits.width:,} wide, {limits.layers} layers, {limits.image} px, {limits.labels:,} labels, {limits.parameters / 1e6:.0f} M parameters, "
            f"{limits.weight_bytes / 1e6:.0f} MB of weights and {limits.attention_bytes / 1e6:.0f} MB of attention maps") in told


def test_importing_the_page_starts_nothing():
    code = ("import sys, threading, vit_demo.page, vit_demo.chapters\n"
            "assert threading.active_count() == 1, threading.enumerate()\n")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, env={
        "PATH": "", "GRADIO_ANALYTICS_ENABLED": "False", "PYTHONPATH": str(ROOT)})
