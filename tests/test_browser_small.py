"""What is written in the chapters can be read: nothing is smaller than 11 pixels, in drawings too, as wide as they are shown."""

import pytest

from tests.browser import CHROMIUM, go, folder, address, chromium, faults, open_page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from vit_demo.chapters import CHAPTERS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
SMALL = """() => [...document.querySelectorAll(".chapter *")].filter((node) => node.getClientRects().length && [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
    .map((node) => [parseFloat(getComputedStyle(node).fontSize) * (node.ownerSVGElement?.getScreenCTM().a ?? 1), `${node.tagName} ${node.className.baseVal ?? node.className}: ${node.textContent}`])
    .filter(([size]) => size < 10.95)"""


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_written_too_small_to_read(open_page, address, width):
    page = open_page(address)
    page.set_viewport_size({"width": width, "height": 900})
    for chapter in range(1, len(CHAPTERS) + 1):
        go(page, chapter)
        if chapter == 5:
            page.click("text=how far they look")
        if chapter == 8:
            page.click("text=heat-map duel")
            page.wait_for_selector(".duel [aria-pressed='true']")
        page.wait_for_function("!vit.frame.line.busy")
        assert page.evaluate(SMALL) == [], chapter
    page.close()
