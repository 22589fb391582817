"""The README holds: its commands parse, its map is the tree, its snippets run."""

import argparse
import fnmatch
import importlib
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser

from tests.models import save_model
from tests.served import serve
from vit_demo.classifier import BUNDLED, FAITHFULNESS_FILE, load
from vit_demo.explain.methods import DEFAULT, METHODS, RANDOM
from vit_demo.images import open_picture
from vit_demo.models import Models
from vit_demo.space import pins, readme

ROOT = Path(__file__).parent.parent
TEXT, RESULTS = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/results.md"))
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = sorted({part for kind, block in BLOCKS if not kind for line in block.splitlines()
                   for part in (words.strip() for words in re.sub(r"\s#.*|\s…", "", line).split("&&"))
                   if part.startswith(("python", "accelerate", "pip", "pytest", "hf "))})
MAP = next(block for _, block in BLOCKS if block.startswith("app.py  "))
SAMPLE = ROOT / "vit_demo" / "samples" / "00_cat.png"


class Parsed(Exception):
    pass


@pytest.fixture
def only_parse(monkeypatch):
    """Command lines are parsed by their own parsers, and that is all."""
    really = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        raise Parsed(really(self, args, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)


def module_and_flags(command: str) -> tuple[str, list[str]] | None:
    """What Python is to run, and with which words; None for a command that is not ours."""
    program, *words = shlex.split(command)
    if program == "accelerate":
        taken = launch_command_parser().parse_args(words[1:])
        return taken.training_script, taken.training_script_args
    if program == "python":
        return (words[1], words[2:]) if words[0] == "-m" else (words[0].removesuffix(".py"), words[1:])
    return None


OURS = [(command, *found) for command in COMMANDS if (found := module_and_flags(command))]


def test_there_are_commands_for_every_step():
    run = {module for _, module, _ in OURS}
    assert {"app", "training.train", "training.evaluate", "training.publish", "vit_demo.space", "tests.hub_server"} <= run


@pytest.mark.parametrize(("module", "flags"), [pytest.param(*rest, id=command) for command, *rest in OURS])
def test_every_command_is_one_that_its_program_takes(module, flags, only_parse):
    main = importlib.import_module(f"{module}.__main__" if (ROOT / module.replace(".", "/")).is_dir() else module).main
    with pytest.raises(Parsed):
        main(flags)


def test_what_is_installed_is_there():
    for command in COMMANDS:
        for file in re.findall(r"-r (\S+)", command):
            assert (ROOT / file).is_file(), command


def test_the_map_names_real_files_and_misses_none_at_the_top():
    named, above = set(), ""
    for line in MAP.splitlines():
        name = line.split()[0]
        above = name if not line.startswith(" ") else above
        named.add(name if not line.startswith(" ") else above + name)
    assert [name for name in named if not (ROOT / name).exists()] == []
    ignored = [*(line.strip("/") for line in (ROOT / ".gitignore").read_text().split()), ".git*", "README.md", "pytest.ini"]
    there = [path.name for path in ROOT.iterdir() if not any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored)]
    assert set(there) - {name.split("/")[0] for name in named} == set()
    modules = {path.relative_to(ROOT).as_posix() for top in ("vit_demo", "training") for path in (ROOT / top).glob("*.py") if path.name != "__init__.py"}
    assert {path for path in modules - named if Path(path).name not in MAP} == set()


@pytest.mark.parametrize(("place", "text"), [(ROOT, TEXT), (ROOT / "docs", RESULTS)], ids=["README", "results"])
def test_every_link_within_the_project_leads_somewhere(place, text):
    links = [link.split("#") for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links and [file for file, *_ in links if not (place / file).exists()] == []
    for file, heading in (link for link in links if len(link) == 2):
        headings = re.findall(r"^#+ (.+)$", (place / file).read_text("utf-8"), re.MULTILINE)
        assert heading in [title.lower().replace(" ", "-") for title in headings]


def test_the_accuracy_in_front_is_that_of_the_model_which_is_carried():
    metrics = json.loads((BUNDLED / "metrics.json").read_text())
    reached, low, high = (f"{100 * share:.2f}" for share in (metrics["test_accuracy"], *metrics["accuracy_ci95"]))
    assert f"5.36 M parameters, from scratch | **{reached} %** ({low} to {high} %), n=1" in TEXT and 5.355e6 < metrics["parameters"] < 5.365e6
    assert f"on a GPU first, has {reached} %" in TEXT and f"**{reached} %** (95 % interval {low} to {high} %)" in RESULTS


def test_the_speeds_are_those_that_were_measured():
    told = re.findall(r"^\| [^|]*\[conditions\]\(([^)]*train_speed[^)]*)\)\) \| \*\*([\d,]+)\*\* \| ([\d,]+) \| ([\d,–]+) \| ([\d,–]+) \|$", TEXT, re.MULTILINE)
    assert len(told) == len(list((ROOT / "benchmarks" / "results").glob("train_speed_*.json")))
    for file, *speeds in told:
        measured = json.loads((ROOT / file).read_text())
        for text, name in zip(speeds, ("ours", "limit", "trainer_tuned", "trainer"), strict=True):
            found = measured[f"{name}_img_s"]
            assert float(text.replace(",", "")) == pytest.approx(found, rel=2e-3) if text != "–" else found is None


def test_the_front_matter_is_that_of_a_space():
    ours, written = (next(yaml.safe_load_all(text.split("---\n")[1])) for text in (TEXT, readme("ViT Demo", None)))
    assert ours == written and ours["sdk_version"] == pins()["gradio"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A running app, and its model."""
    folder = save_model(tmp_path_factory.mktemp("readme") / "model")
    with serve(Models(str(folder))) as address:
        yield address, dict(load(folder).top_k(open_picture(SAMPLE), 3)), folder


def test_the_python_snippets_run(page, hub, monkeypatch, capsys):
    address, expected, folder = page
    hub.seed("models", "tester/readme", folder)
    monkeypatch.chdir(ROOT)
    snippets = [block for kind, block in BLOCKS if kind == "python"]
    for snippet in snippets:
        exec(snippet.replace("USER/vit-cifar10", "tester/readme").replace("http://127.0.0.1:7860", address), {})
    told = capsys.readouterr().out
    assert len(snippets) >= 2 and all(told.count(label) >= 2 for label in expected)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_curl_snippets_run(page):
    """The second goes on from the first."""
    address, expected, folder = page
    script = "".join(block for kind, block in BLOCKS if kind == "bash").replace("http://127.0.0.1:7860", address)
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    probabilities, heads = (json.loads(answer.split("\n")[0])[0] for answer in done.stdout.split("data: ")[1:])
    assert probabilities == pytest.approx(expected, abs=1e-5), done
    shape = load(folder).model.config
    assert len(heads["changes"]) == shape.num_hidden_layers and len(heads["changes"][0]) == shape.num_attention_heads


def test_the_heat_maps_numbers_are_those_that_were_measured():
    measured = json.loads((ROOT / "benchmarks" / "results" / "faithfulness.json").read_text())
    titles = {method.title: name for name, method in METHODS.items()} | {"A random order": RANDOM}
    told = re.findall(r"^\| \**([^|*]+?)\**(?:, the default| \(100 of the pictures\))? \| [^|]*\| ([\d.−]+) \| ([\d.−]+) \| \*\*([\d.−]+)\*\* \| ([\d.−]+) to ([\d.−]+) \|$", TEXT, re.MULTILINE)
    assert {titles[title] for title, *_ in told} == set(measured["test"])
    assert json.loads((BUNDLED / FAITHFULNESS_FILE).read_text())["test"] == measured["test"]  # what the page tells
    for title, *numbers in told:
        row = measured["test"][titles[title]]
        assert [float(text.replace("−", "-")) for text in numbers] == pytest.approx([row["insertion"], row["deletion"], row["difference"], *row["ci95"]], abs=5.1e-4)
    between, before = (json.loads((ROOT / "benchmarks" / "results" / f"faithfulness_{name}.json").read_text()) for name in ("cut_short", "cpu_only"))
    steady = re.findall(r"^\| ([^|]+?)(?: \(100, – and 50 pictures\))? \| ([\d.−]+) \| ([\d.−]+|–) \| ([\d.−]+) \|$", RESULTS, re.MULTILINE)
    assert {titles[title] for title, *_ in steady} == set(measured["test"])
    for title, *differences in steady:
        found = [some["test"].get(titles[title], {}).get("difference") for some in (measured, between, before)]
        assert [text == "–" for text in differences] == [value is None for value in found]
        assert [float(text.replace("−", "-")) for text in differences if text != "–"] == pytest.approx([value for value in found if value is not None], abs=5.1e-4)
    assert f"on {measured['conditions']['pictures']} fixed test pictures" in TEXT and measured["shipped_default"] == DEFAULT
    for split in ("train", "test"):  # as the README says
        rivals = [row["ci95"][1] for name, row in before[split].items() if name not in (DEFAULT, "shapley")]
        assert before[split][DEFAULT]["ci95"][0] > max(rivals)
    leads, led = measured["default_minus_other_ci95"], between["default_minus_other_ci95"]
    assert min(led, key=lambda name: led[name][0]) == "gradcam" and led["gradcam"][0] > 0 and "Grad-CAM, by {:.3f} to {:.3f}".format(*led["gradcam"]) in RESULTS
    assert set(leads) == set(measured["test"]) - {DEFAULT} and [name for name in leads if leads[name][0] <= 0] == ["gradcam"] and leads["gradcam"][1] > 0
    assert measured["test"]["shapley"]["pictures"] == 100 and "its lead: {:.3f} to {:.3f}), on 100 training".format(*leads["shapley"]) in RESULTS
    assert "its lead: {:.3f} to {:.3f}; on training".format(*leads["gradcam"]).replace("-", "−") in RESULTS
    low, high = before["default_minus_other_ci95"]["shapley"]
    assert low < 0 and f"(95 % interval of its lead: {low:.3f} to {high:.3f})".replace("-", "−") in RESULTS
