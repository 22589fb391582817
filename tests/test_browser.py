"""The page in a real browser: what is shown is what plain transformers computes, with no request beyond loopback."""

import numpy as np
import pytest
from PIL import Image

from tests.browser import CHROMIUM, bars, choose, expected_bars, go, plain, folder, address, chromium, faults, open_page, page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from vit_demo.images import open_picture
from vit_demo.page import INTRO
from vit_demo.samples import FIRST, SAMPLES

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


def test_a_sample_is_classified_without_a_click(page, folder):
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[FIRST][0]))
    assert f"truth: {SAMPLES[FIRST][2]}" in page.inner_text(".answer") and "always picks one" in page.inner_text(".answer")


@pytest.mark.parametrize("sample", [1, 4])
def test_a_clicked_sample_is_classified(page, folder, sample):
    choose(page, sample)
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[sample][0]))
    right = bars(page)[0][0] == SAMPLES[sample][2]
    assert ("The model is right" if right else "The model is wrong") in page.inner_text(".answer")
    button = page.locator(f"[data-sample='{sample}']")
    assert button.inner_text() == "✓✗"[not right] and button.get_attribute("aria-label").endswith(f"the model is {'right' if right else 'wrong'}")
    shares = plain(folder, Image.open(SAMPLES[sample][0]))[1].topk(5).values
    assert page.eval_on_selector_all(".bars .bar i", "bars => bars.map(bar => parseFloat(bar.style.width))") == pytest.approx([max(0.5, 100 * share) for share in shares.tolist()], abs=0.01)


def test_the_answer_stands_where_a_change_of_it_is_read_aloud(page):
    choose(page, 1)
    page.evaluate("window.told = document.querySelector('#side [role=status]')")
    choose(page, 4)
    assert page.evaluate("told.isConnected && told.textContent") == page.inner_text(".answer .best")


def test_the_k_slider_shows_more_classes(page, folder):
    choose(page, 0)
    page.fill(".answer input[type=range]", "9")
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[0][0]), 9)
    page.fill(".answer input[type=range]", "5")


def test_pointing_at_a_patch_names_it_without_asking_the_server(page):
    page.wait_for_timeout(300)
    calls = []
    page.on("request", lambda request: calls.append(request.url))
    box = page.locator(".side .picture").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 5.5 / 8, box["y"] + box["height"] * 2.5 / 8)
    assert "patch 21 · row 2, column 5 · token 22" in page.inner_text(".side .caption")
    page.mouse.click(box["x"] + box["width"] * 5.5 / 8, box["y"] + box["height"] * 2.5 / 8)
    page.focus(".side .picture")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert "patch 28 · row 3, column 4 · token 29" in page.inner_text(".side .caption")
    assert calls == []


def test_of_many_buttons_one_is_in_the_tab_order_and_arrows_walk(page):
    go(page, 5)
    page.focus("[data-layer='2'][data-head='1']")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("[document.activeElement.dataset.layer, document.activeElement.dataset.head]") == ["0", "2"]  # six in a row
    assert page.locator(".thumbs [tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    assert page.get_attribute(".thumbs [aria-pressed='true']", "aria-label") == "layer 1, head 3"
    page.click("[data-layer='2'][data-head='1']")


def test_an_upload_is_classified_and_a_bad_one_gets_a_line(page, folder, tmp_path):
    picture = Image.radial_gradient("L").resize((90, 60)).convert("RGB")
    picture.save(tmp_path / "mine.png")
    page.set_input_files("#upload input[type=file]", tmp_path / "mine.png")
    page.wait_for_selector(".samples:not(:has([aria-pressed='true']))")
    assert bars(page) == expected_bars(folder, picture)
    assert "truth" not in page.inner_text(".answer")
    choose(page, 2)
    (tmp_path / "broken.png").write_bytes(SAMPLES[0][0].read_bytes()[:300])
    page.set_input_files("#upload input[type=file]", tmp_path / "broken.png")
    page.wait_for_selector("text=damaged or incomplete")
    page.wait_for_selector("#upload img", state="detached")  # what cannot be shown does not stay in the box
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[2][0]))
    page.set_input_files("#upload input[type=file]", tmp_path / "mine.png")  # and the next one finds it empty
    page.wait_for_selector(".samples:not(:has([aria-pressed='true']))")
    assert bars(page) == expected_bars(folder, picture) and page.locator("#upload img").count() == 1


def test_the_photo_of_a_phone_is_classified(open_page, address, folder, tmp_path):
    """24 million pixels, held upright, in more than 5 MB."""
    levels, exif = np.random.default_rng(0).integers(0, 256, (1071, 1428, 3), dtype=np.uint8), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(levels).resize((5712, 4284), Image.Resampling.BILINEAR).save(tmp_path / "IMG_0001.jpg", quality=93, exif=exif)
    assert 5.2e6 < (tmp_path / "IMG_0001.jpg").stat().st_size < 20e6
    page = open_page(address)
    page.set_input_files("#upload input[type=file]", tmp_path / "IMG_0001.jpg")
    page.wait_for_selector(".samples:not(:has([aria-pressed='true']))")
    assert bars(page) == expected_bars(folder, open_picture(tmp_path / "IMG_0001.jpg"))
    assert "Your file has 4284 × 5712 pixels, which this page reads as 2142 × 2856; the model was made for" in page.inner_text(".story")
    assert "the file, 4284 × 5712 pixels" in page.inner_text(".card")
    page.close()


def test_what_this_is_stands_there_before_the_first_answer_and_after_it(page):
    waiting = page.context.new_page()
    waiting.route("**/queue/**", lambda route: None)  # no answer ever comes
    waiting.goto(page.url)
    waiting.wait_for_selector("#intro p")
    assert [waiting.inner_text("#intro"), page.inner_text("#intro")] == [INTRO] * 2 and waiting.locator(".chapter").count() == 0
    waiting.unroute_all(behavior="ignoreErrors")
    waiting.close()


@pytest.mark.parametrize("query, scheme", [("?__theme=dark", "light"), ("", "dark")])
def test_dark_is_dark(open_page, address, query, scheme):
    page = open_page(address + query, color_scheme=scheme)
    assert page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).backgroundColor") == "rgb(20, 23, 27)"
    page.close()


@pytest.mark.parametrize("chapter, tab", [(4, None), (5, None), (5, "queries and keys"), (6, None)])
def test_what_is_painted_turns_dark_with_the_page(open_page, address, chapter, tab):
    """At dusk, with the page open: the same pictures as of a page that was dark from the start, and back again."""
    paintings = "[...document.querySelectorAll('canvas')].map(c => c.toDataURL()).concat([...document.querySelectorAll('.mosaic image')].map(i => i.getAttribute('href')))"

    def opened(scheme):
        page = open_page(f"{address}/?sample=6&chapter={chapter}", color_scheme=scheme)
        page.wait_for_selector(f".chapter[data-number='{chapter}']")
        if tab:
            page.click(f"text={tab}")
            page.wait_for_selector(".plane + .caption:has-text('looks most at')")
        page.wait_for_timeout(200)  # strips are painted in the next frame
        return page

    dark = opened("dark")
    expected = dark.evaluate(paintings)
    dark.close()
    page = opened("light")
    before = page.evaluate(paintings)
    assert len(before) == len(expected) and before[-1] != expected[-1]
    for scheme, wanted in (("dark", expected), ("light", before)):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.body.classList.contains('dark') === {str(scheme == 'dark').lower()}")
        assert page.evaluate(paintings) == wanted
    page.close()


def test_back_twice_goes_back_two_chapters(open_page, address):
    page = open_page(address)
    for chapter in (2, 4, 6):
        go(page, chapter)
    entries = page.evaluate("history.length")
    page.evaluate("history.back(); setTimeout(() => history.back(), 30)")  # faster than the chapters come
    page.wait_for_selector(".chapter[data-number='2']")
    page.wait_for_function("location.search.includes('chapter=2')")
    page.wait_for_timeout(300)
    assert page.evaluate("history.length") == entries and page.locator(".chapter[data-number='2']").count() == 1
    page.go_back()
    page.wait_for_selector(".chapter[data-number='1']")
    for chapter in (2, 4, 6):
        page.go_forward()
        page.wait_for_selector(f".chapter[data-number='{chapter}']")
    page.close()


def test_no_click_is_lost_to_the_one_after_it(open_page, address, folder):
    page = open_page(address)
    page.evaluate("""[2, 's7', 3, 4].forEach(wish => document.querySelector(wish === 's7' ? "[data-sample='7']" : `[data-chapter='${wish}']`).click())""")
    page.wait_for_selector(".chapter[data-number='4']")
    page.wait_for_selector("[data-sample='7'][aria-pressed='true']")
    page.wait_for_function("location.search.includes('chapter=4') && location.search.includes('sample=7')")
    assert bars(page) == expected_bars(folder, Image.open(SAMPLES[7][0]))
    page.go_back()  # chapters 2 and 3 were never there
    page.wait_for_selector(".chapter[data-number='1']")
    page.close()


def test_an_upload_is_asked_for_once_and_a_click_meanwhile_counts(open_page, address, folder, tmp_path):
    page, asked = open_page(address), []
    page.on("request", lambda request: asked.append(request) if "queue/join" in request.url else None)
    picture = Image.radial_gradient("L").resize((3000, 2400)).convert("RGB")
    picture.save(tmp_path / "large.png")
    page.set_input_files("#upload input[type=file]", tmp_path / "large.png")
    page.wait_for_timeout(50)
    page.click("[data-chapter='6']")
    page.wait_for_selector(".chapter[data-number='6']")
    page.wait_for_selector(".samples:not(:has([aria-pressed='true']))")
    page.wait_for_timeout(500)
    assert page.locator(".chapter[data-number='6']").count() == 1 and "chapter=6" in page.url
    assert bars(page) == expected_bars(folder, picture)
    assert len(asked) == 2
    page.close()


def test_an_arrow_with_alt_is_the_browsers_own(page):
    """On some systems that is how one goes back."""
    go(page, 8)
    page.click("text=erase game")
    pressed = """(extra) => [".side .picture", ".card .choice [tabindex='0']", ".samples [tabindex='0']", ".ribbon li [tabindex='0']"].map((place) => {
        const node = document.querySelector(place), before = [vit.state.patch, document.activeElement];
        const free = node.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true, cancelable: true, ...extra }));
        return free && before[0] === vit.state.patch && before[1] === document.activeElement; })"""
    assert page.evaluate(pressed, {"altKey": True}) == page.evaluate(pressed, {"metaKey": True}) == [True] * 4
    assert page.evaluate(pressed, {}) == [False] * 4


def test_labels_written_from_the_right_keep_to_themselves(page):
    assert page.evaluate("[vit.named('cat'), vit.named('קטה')]") == ["cat", "\u2068קטה\u2069"]


@pytest.mark.parametrize("query, asked", [("?layer=abc&head=0", [0, 0, False, None]), ("?layer=3&after=2", [2, 0, True, 2]), ("?after=x&head=9999", [0, 0, False, None])])
def test_what_makes_no_sense_in_an_address_is_not_chosen(open_page, address, query, asked):
    page = open_page(address + query)
    assert page.evaluate("[vit.state.layer, vit.state.head, vit.state.chosen, vit.state.after]") == asked
    page.close()


def test_a_chosen_patch_is_in_the_address_and_comes_back(open_page, address):
    page = open_page(address)
    go(page, 3)
    assert "patch" not in page.url  # none was chosen
    page.focus(".side .picture")
    page.keyboard.press("ArrowRight")
    told = page.inner_text(".side .caption")
    assert f"patch={page.evaluate('vit.state.patch')}" in page.url
    again = open_page(page.url)
    assert again.inner_text(".side .caption") == told and again.url == page.url
    again.close()
    go(page, 4)
    assert "patch=21" in page.url and "chapter=4" in page.url
    page.keyboard.press("Escape")
    page.go_back()
    page.wait_for_selector(".chapter[data-number='3']")
    page.wait_for_function("location.search.includes('chapter=3') && location.search.includes('patch=21')")
    page.close()


@pytest.mark.parametrize("query, patch, told", [("?patch=9", 9, "patch=9"), ("?patch=700", 63, "patch=63"), ("?patch=-1", 20, ""), ("?patch=x", 20, "")])
def test_a_patch_of_the_address_is_held_within_the_picture(open_page, address, query, patch, told):
    page = open_page(address + query)
    assert page.evaluate("vit.state.patch") == patch and f"patch {patch} ·" in page.inner_text(".side .caption")
    assert told in page.url and page.url.count("patch") == bool(told)
    page.close()


def test_more_steps_than_a_browser_writes_down_end_in_the_address_too(open_page, address):
    """As of a held arrow key: Safari takes a hundred in half a minute, and throws at the next."""
    page = open_page(address)
    page.evaluate("""() => { const write = history.replaceState; history.replaceState = () => { throw new DOMException("too often", "SecurityError"); };
        vit.set({ patch: 7 }); history.replaceState = write; }""")
    assert "patch" not in page.url
    page.wait_for_function("location.search.includes('patch=7')")
    page.close()


def test_a_chapter_that_opens_is_read_aloud_once(open_page, address):
    page = open_page(address)
    page.evaluate("""window.line = document.querySelector("#chapter [role=status]:not(.chapter *)"); window.said = [];
        new MutationObserver(() => said.push(line.textContent)).observe(line, { childList: true });""")
    assert page.evaluate("line.textContent") == ""  # the first one is no news
    go(page, 5)
    choose(page, 2)
    assert page.evaluate("said") == ["Chapter 5: Where does a patch look?"] and page.evaluate("line.isConnected")
    page.click(".onward .next")  # it goes away, and the title has the focus: that is read
    page.wait_for_selector(".chapter[data-number='6']")
    assert page.evaluate("[document.activeElement.tagName, line.textContent]") == ["H2", ""]
    page.close()


def test_charts_tell_shares_from_numbers(page):
    drawn = """shares => [...vit.lines({ x: [0, 1], top: 1, unit: "", format: vit.tick, shares, series: [{ name: "", points: [0, 1] }] }).querySelectorAll("text")].map(t => t.textContent)"""
    assert [text for text in page.evaluate(drawn, True) if "%" in text] == ["0\xa0%", "25\xa0%", "50\xa0%", "75\xa0%", "100\xa0%"]
    assert page.evaluate(drawn, False)[-2:] == ["0", "1"]


def test_lines_of_a_chart_rise_with_their_numbers_and_end_beside_their_own_names(page):
    lines, names, spreads = page.evaluate("""() => { const chart = vit.lines({ x: [0, 1, 2], top: 1, unit: "", series: [
            { name: "falls", points: [0.9, 0.5, 0.1] }, { name: "rises", points: [{ mean: 0.2, low: 0.1, high: 0.4 }, { mean: 0.5, low: 0.5, high: 0.5 }, { mean: 0.8, low: 0.6, high: 1 }] }] });
        const all = (part, ...of) => [...chart.querySelectorAll(part)].map(node => of.map(name => +node.getAttribute(name)));
        return [all("circle", "cx", "cy"), Object.fromEntries([...chart.querySelectorAll(".line text")].map(text => [text.textContent, +text.getAttribute("y")])), all(".spread", "y1", "y2")]; }""")
    bottom, height = 112, 104
    assert [y for _, y in lines] == pytest.approx([bottom - height * value for value in (0.9, 0.5, 0.1, 0.2, 0.5, 0.8)])
    assert lines[0][0] < lines[1][0] < lines[2][0] and lines[0][0] + lines[2][0] == pytest.approx(2 * lines[1][0])
    assert names == pytest.approx({"falls": lines[2][1] + 4, "rises": lines[5][1] + 4}, abs=12)
    assert spreads == [pytest.approx([bottom - height * low, bottom - height * high]) for low, high in ((0.1, 0.4), (0.5, 0.5), (0.6, 1))]
