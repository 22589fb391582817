"""Long names, many patches, a narrow screen, a keyboard: nothing runs out of the page, and what is focused shows it."""

import json

import pytest

from tests.browser import CHROMIUM, go, folder, address, chromium, faults, open_page, page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from tests.models import LABELS, save_model
from tests.served import serve
from vit_demo.chapters import CHAPTERS
from vit_demo.models import Models
from vit_demo.samples import FIRST

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
PARTS = {5: ["queries and keys", "how far they look", "through all layers"], 8: ["head switches", "heat-map duel"]}

# What lies right of the page and cannot be scrolled to within its own box.
OUTSIDE = """() => [...document.querySelectorAll(".vit *")].filter((node) => {
    for (let box = node.parentElement; box !== document.body; box = box.parentElement) if (getComputedStyle(box).overflowX !== "visible") return false;
    return node.getBoundingClientRect().right > innerWidth + 1; }).map((node) => `${node.tagName} ${node.className.baseVal ?? node.className}: ${node.textContent}`)"""
# Whose focus ring is cut off by the box that it lies in.
CUT = """() => [...document.querySelectorAll(".vit button, .vit input, .vit select, .vit summary, .vit [tabindex='0']")].filter((node) => {
    if (node.tabIndex < 0 || !node.checkVisibility()) return false;
    node.focus({ focusVisible: true });
    const style = getComputedStyle(node), room = parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset), ring = node.getBoundingClientRect();
    let box = node.parentElement;
    while (box !== document.body && getComputedStyle(box).overflow === "visible") box = box.parentElement;
    const { left, right, top, bottom } = box.getBoundingClientRect();
    return style.outlineStyle === "none" || ring.left - room < left || ring.right + room > right || ring.top - room < top || (box !== document.body && ring.bottom + room > bottom);
    }).map((node) => node.getAttribute("aria-label") ?? node.textContent)"""
# What a finger misses; a word in a sentence is as high as its line.
LOW = """() => [...document.querySelectorAll("button, input, select, summary")].filter((node) => node.checkVisibility() && !node.matches("p .link")
    && node.getBoundingClientRect().height < 23.9).map((node) => `${node.getAttribute("aria-label") ?? node.textContent}: ${node.getBoundingClientRect().height}`)"""


@pytest.fixture(scope="module")
def long_named(tmp_path_factory):
    """14 × 14 patches, and classes named as ImageNet's are; measured, so that chapter 9 has a confusion matrix."""
    folder = save_model(tmp_path_factory.mktemp("models") / "long", size=(224, 224), patch=16)
    config = json.loads((folder / "config.json").read_text())
    names = ["American Staffordshire terrier, Staffordshire terrier, American pit bull terrier", *(f"{label}, described at the length of ImageNet" for label in LABELS[1:])]
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.json").write_text(json.dumps({"test_accuracy": 0.9, "confusion": [[100 // (1 + abs(i - j)) for j in range(10)] for i in range(10)]}))
    with serve(Models(str(folder))) as served:
        yield served


def test_long_names_fit_360_pixels(open_page, long_named):
    page = open_page(f"{long_named}/?sample=3")
    page.set_viewport_size({"width": 360, "height": 800})
    for chapter in range(1, len(CHAPTERS) + 1):
        go(page, chapter)
        for part in [None, *PARTS.get(chapter, [])]:
            if part:
                page.click(f"text={part}")
            page.wait_for_function("!vit.frame.line.busy")
            assert (page.evaluate("document.documentElement.scrollWidth"), page.evaluate(OUTSIDE)) == (360, []), (chapter, part)
    page.close()


def test_a_confusion_matrix_of_long_names_is_seen(open_page, long_named):
    page = open_page(f"{long_named}/?chapter=9")
    page.set_viewport_size({"width": 360, "height": 800})
    page.wait_for_selector(".confusion")
    first = page.evaluate("""() => { const box = document.querySelector(".confusion").parentElement.getBoundingClientRect(), cell = document.querySelector(".confusion td[style]").getBoundingClientRect();
        return [cell.left - box.left, cell.top - box.top]; }""")
    assert max(first) < 140
    assert page.get_attribute(".confusion th[scope=row]", "title").startswith("American Staffordshire terrier")
    page.close()


@pytest.mark.parametrize("name, shown", [("机" * 6, "机" * 6), ("オートバイ", "オートバイ"), ("자동차와 🚗 " * 9, None), ("a name of Latin letters " * 9, None), ("frog", "frog")])
def test_names_beside_a_chart_stay_in_its_box_however_wide_their_letters(page, name, shown):
    drawn = """name => { const chart = vit.lines({ x: [0, 1], top: 1, unit: "", series: [{ name, points: [0, 1] }] }).querySelector("svg"), text = [...chart.querySelectorAll(".line text")].at(-1);
        return [+chart.getAttribute("viewBox").split(" ")[2] - text.getAttribute("x"), text.textContent]; }"""
    room, told = page.evaluate(drawn, name)
    em = 10.5  # chapter.css; a square letter is so wide, a Latin one 0.6 of it
    assert sum(em if ord(letter) > 0x1100 and letter != "…" else 0.6 * em for letter in told) <= room
    assert told == shown if shown else told.endswith("…") and name.startswith(told[:-1]) and len(told) > 8


@pytest.mark.parametrize("chapter", range(1, len(CHAPTERS) + 1))
def test_what_is_focused_shows_its_ring_and_is_high_enough_for_a_finger(page, chapter):
    page.evaluate("document.activeElement.blur()")
    go(page, chapter)
    page.wait_for_function("!vit.frame.line.busy")
    assert page.evaluate(CUT) == []
    page.eval_on_selector_all("details", "all => all.forEach((details) => { details.open = true; })")
    assert page.evaluate(LOW) == []


def test_a_chapter_opens_where_it_is_seen(open_page, address):
    page = open_page(address)
    top = "document.querySelector('.chapter').getBoundingClientRect().top"
    below = "document.querySelector('#ribbon').getBoundingClientRect().bottom"
    go(page, 2)
    assert page.evaluate("scrollY") == 0  # on a wide screen it is there already
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate(top) > 370
    go(page, 3)
    page.wait_for_function(f"scrollY > 0 && {top} >= {below} && {top} < {below} + 40")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    go(page, 4)
    page.wait_for_function(f"{top} >= {below} && {top} < {below} + 40")
    page.close()


def test_on_a_phone_all_parts_end_in_one_line(open_page, address):
    page = open_page(address)
    page.set_viewport_size({"width": 360, "height": 740})
    ends = page.evaluate("""["#intro p", ".side", "#upload", "#models", ".chapter", ".card"].map((part) => {
        const { left, right } = document.querySelector(part).getBoundingClientRect(); return [left, right]; })""")
    assert ends == [[14, 346]] * 6
    assert page.evaluate("document.querySelector('.chapter h2').getBoundingClientRect().top") < 740  # what this is did not push it off the screen
    page.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (1366, 768), (1280, 720)])
def test_the_whole_left_column_is_on_a_laptops_first_screen(open_page, address, width, height):
    page = open_page(address)
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_function("document.querySelector('#left').scrollHeight <= document.querySelector('#left').clientHeight")
    model = page.locator("#models").bounding_box()
    assert model["y"] + model["height"] <= height and page.evaluate(LOW) == []
    page.close()


def test_on_a_phone_the_chosen_sample_is_in_sight(open_page, address):
    page = open_page(address)
    page.set_viewport_size({"width": 390, "height": 800})
    for sample in (FIRST, 2, 19):
        page.goto(f"{address}/?sample={sample}")
        page.wait_for_selector(f"[data-sample='{sample}'][aria-pressed='true']")
        page.wait_for_function("""() => { const row = document.querySelector('.samples').getBoundingClientRect(), chosen = document.querySelector(".samples [aria-pressed='true']").getBoundingClientRect();
            return chosen.left >= row.left - 1 && chosen.right <= row.right + 1; }""")
    page.close()


@pytest.mark.parametrize(("clipboard", "copies", "says"), [("{ writeText: async (text) => { window.taken = text; } }", True, "copied"), ("undefined", True, "copied"), ("undefined", False, "press Ctrl+C")])
def test_code_is_copied_where_the_page_may_and_selected_where_it_may_not(open_page, address, clipboard, copies, says):
    """Without the clipboard's own interface, as over plain http from another machine: by the old command, or by the reader's own hand."""
    page = open_page(address)
    page.evaluate(f"Object.defineProperty(navigator, 'clipboard', {{ value: {clipboard} }}); document.execCommand = () => {'(window.taken = String(getSelection()), true)' if copies else 'false'}")
    page.click(".chapter > .check summary")
    page.click(".check button")
    page.wait_for_selector(f".check button:has-text('{says}')")
    code = page.text_content(".check code")
    assert page.evaluate("window.taken ?? String(getSelection())").strip() == code.strip()
    page.wait_for_selector(".check button:has-text('copy')")  # and may be asked again
    page.close()
