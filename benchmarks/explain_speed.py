"""How fast is the page? A full trace against a plain forward, each chapter on the server, the first screen in a browser.

    python -m benchmarks.explain_speed [--model FOLDER ...] [--write]

- trace: one forward that keeps attentions and hidden states, and the logit lens of every token after every layer, against
  the same model's plain forward with sdpa attention; taken in turns, the median of each
- chapters: seconds from a Look to what is sent to the browser, and for each thing that a chapter computes when asked
- first screen: seconds from an address to the first chapter drawn in Chromium, for a picture not seen before; echo: the
  same page giving stored answers in place of a model's

The bundled model, and one with the shape of ViT-B/16 at 224 px and random weights. The last line is JSON; --write keeps
it with its conditions in benchmarks/results/.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from training import report
from vit_demo import questions
from vit_demo.chapters import CHAPTERS
from vit_demo.chapters.scene import Look
from vit_demo.classifier import Classifier, load
from vit_demo.commands import cli
from vit_demo.errors import UserError
from vit_demo.explain.lens import logit_lens
from vit_demo.models import Models
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace

RESULTS = Path(__file__).parent / "results"
MORE = {"erase": {"kept": [0, 1, 2]}, "reveal": {"kept": [0]}, "heads": {"off": [[0, 0]]}}  # words of a question; the others are asked without


def options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="model folder; may be given several times (default: the bundled model and a random ViT-B/16)")
    parser.add_argument("--threads", type=int, default=1, help="processor threads for the model (default: %(default)s, app.py's own)")
    parser.add_argument("--repeats", type=int, default=15, help="timings of each thing (default: %(default)s)")
    parser.add_argument("--visits", type=int, default=5, help="pages opened, each with another sample (default: %(default)s)")
    parser.add_argument("--chromium", default="chromium", help="the browser's command (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/explain_speed.json")
    parser.add_argument("--note", default="", help="what a reader should know, such as what else the machine was doing")
    return parser.parse_args(argv)


def random_base(folder: Path) -> Path:
    """A folder with the shape of google/vit-base-patch16-224 and random weights."""
    ViTForImageClassification(ViTConfig(num_labels=10)).save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)
    return folder


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@torch.no_grad()
def trace_cost(classifier: Classifier, image, repeats: int) -> dict:
    """Medians, in seconds. The processor's share is in both."""
    def plain():
        classifier.model(classifier.pixel_values([image]))

    def full():
        logit_lens(classifier.viewing, trace(classifier, image).hidden_states)

    plain(), full()
    pairs = [(seconds(plain), seconds(full)) for _ in range(repeats)]
    forward, traced = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"forward_s": round(forward, 4), "trace_s": round(traced, 4), "ratio": round(statistics.median(b / a for a, b in pairs), 2)}


def chapter_cost(classifier: Classifier, image, repeats: int) -> dict:
    """{chapter: {"scene": s, question: s}}, medians; what takes over two seconds is timed once."""
    look, found = Look(classifier, trace(classifier, image)), {}
    for number, chapter in enumerate(CHAPTERS, 1):
        works = {"scene": lambda chapter=chapter: chapter.scene(look)}
        for what in questions.ASKED.get(chapter, ()):
            question = questions.read(look, number, {"what": what, **MORE.get(what, {})})
            works[what] = lambda chapter=chapter, question=question: list(chapter.answer(look, question))  # to the last bit
        found[chapter.NAME] = {}
        for name, work in works.items():
            times = [seconds(work)]
            while times[0] < 2 and len(times) < repeats:
                times.append(seconds(work))
            found[chapter.NAME][name] = round(statistics.median(times), 4)
    return found


@contextlib.contextmanager
def served(source: str | None):
    from vit_demo.page import build_page, launch_settings

    models = Models(source)
    if models.wanted is not None:
        models.wanted.done.wait()
    page = build_page(models)
    try:
        yield page.launch(prevent_thread_lock=True, quiet=True, **launch_settings())[1].rstrip("/")
    finally:
        page.close()


def visits(browser, source: str | None, count: int) -> float:
    """Seconds to the first screen, the median over samples not seen before. The first visit warms the browser up."""
    with served(source) as address:
        page = browser.new_page()

        def visit(sample: int) -> float:
            def work():
                page.goto(f"{address}/?sample={sample}")
                page.wait_for_selector(".chapter h2")

            return seconds(work)

        visit(0)
        found = statistics.median(visit(sample) for sample in range(1, count + 1))
        page.close()
    return found


def first_screen(browser, source: str | None, classifier: Classifier, image, count: int) -> dict:
    look = Look(classifier, trace(classifier, image), truth=SAMPLES[0][2])
    stored = CHAPTERS[0].scene(look)
    ours = visits(browser, source, count)
    with mock.patch("vit_demo.page.look_at", lambda *_: look), mock.patch.object(CHAPTERS[0], "scene", lambda _: stored):
        echo = visits(browser, source, count)
    return {"ours_s": round(ours, 3), "echo_s": round(echo, 3), "more_s": round(ours - echo, 3)}


def main(argv: list[str] | None = None) -> dict:
    args = options(argv)
    torch.set_num_threads(args.threads)
    image, found = Image.open(SAMPLES[0][0]), {}
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("the first screen is timed in a browser: pip install -r tests/requirements.txt") from None
    with tempfile.TemporaryDirectory() as place, sync_playwright() as api:
        browser = api.chromium.launch(executable_path=found_browser(args.chromium), args=["--no-sandbox"])
        for source in args.model or [None, str(random_base(Path(place) / "random ViT-B-16"))]:
            classifier = load(source)
            print(f"{classifier.name}: trace", flush=True)
            row = {"trace": trace_cost(classifier, image, args.repeats)}
            print(f"{row['trace']}\n{classifier.name}: chapters", flush=True)
            row["chapters_s"] = chapter_cost(classifier, image, args.repeats)
            print(f"{row['chapters_s']}\n{classifier.name}: first screen", flush=True)
            row["first_screen"] = first_screen(browser, source, classifier, image, args.visits)
            print(row["first_screen"], flush=True)
            found[classifier.name] = row
        browser.close()
    if args.write:
        kept = {**found, "device": report.device_name(), "versions": report.versions(), "threads": args.threads, "repeats": args.repeats, "visits": args.visits,
                "command": report.command_line("benchmarks.explain_speed", sys.argv[1:]), "note": args.note, "date": time.strftime("%Y-%m-%d", time.gmtime())}
        report.write_bytes(RESULTS / "explain_speed.json", (json.dumps(kept, indent=1) + "\n").encode())
    print(json.dumps(found))
    return found


def found_browser(command: str) -> str:
    if (path := shutil.which(command)) is None:
        raise UserError(f"no browser {command!r} here: apt-get install chromium, or name another with --chromium")
    return path


if __name__ == "__main__":
    cli(main)
