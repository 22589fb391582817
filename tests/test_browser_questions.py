"""What a chapter asked and nobody waits for any more: it is stopped on the server, whenever it was left."""

import json

import pytest

from tests.browser import CHROMIUM, go, folder, address, chromium, faults, open_page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


def test_what_is_left_before_the_server_took_it_up_is_stopped_once_it_has(open_page, address):
    page = open_page(f"{address}?chapter=5")
    held, stopped = [], []
    page.route("**/queue/join*", lambda route: held.append(route) if "rollout" in (route.request.post_data or "") else route.continue_())
    page.on("request", lambda request: stopped.append(json.loads(request.post_data)) if request.url.endswith("/cancel") else None)
    page.click("text=through all layers")
    while not held:
        page.wait_for_timeout(20)
    page.evaluate("vit.frame.stop()")
    page.wait_for_timeout(200)
    assert stopped == []  # it has no name yet
    with page.expect_request("**/cancel") as asked:
        held[0].continue_()
    assert json.loads(asked.value.post_data)["event_id"]
    page.close()


@pytest.fixture
def left_too_early(open_page, address):
    """Chapter 7, which asks when it is drawn, right after a question of chapter 5 that the server has not taken up:
    the page, that question on its way, and what the page has asked and stopped since."""
    page, held, sent = open_page(f"{address}?chapter=5"), [], []
    page.route("**/queue/join*", lambda route: held.append(route) if "rollout" in (route.request.post_data or "") else route.continue_())
    page.click("text=through all layers")
    while not held:
        page.wait_for_timeout(20)
    page.on("request", lambda request: sent.append(json.loads(request.post_data)) if request.url.endswith("/cancel") or "queue/join" in request.url and '"serial"' in request.post_data else None)
    go(page, 7)
    yield page, held[0], sent
    page.close()


def test_what_is_left_early_is_stopped_and_not_what_the_next_chapter_asks_at_once(left_too_early):
    page, held, sent = left_too_early
    page.wait_for_timeout(300)
    assert sent == [] and page.evaluate("vit.frame.line.busy")
    with page.expect_response(lambda response: response.request == held.request) as taken_up:
        held.continue_()
    page.wait_for_function("!vit.frame.line.busy")
    stopped, asked = sent
    assert stopped["event_id"] == taken_up.value.json()["event_id"] and asked["event_data"]["serial"] == page.evaluate("vit.frame.serial")


def test_what_still_waits_for_that_when_it_is_left_itself_is_never_asked(left_too_early):
    page, held, sent = left_too_early
    go(page, 1)
    with page.expect_request("**/cancel"):
        held.continue_()
    page.wait_for_timeout(300)
    assert len(sent) == 1 and not page.evaluate("vit.frame.line.busy")
    assert page.locator(".toast-body").all_inner_texts() == []  # that it reached the server when its visitor was elsewhere needs no word


def test_a_reply_that_never_comes_holds_nobody_up_for_long(left_too_early):
    page, _, sent = left_too_early
    page.wait_for_function("!vit.frame.line.busy")
    assert [asked["event_data"]["serial"] for asked in sent] == [page.evaluate("vit.frame.serial")]
