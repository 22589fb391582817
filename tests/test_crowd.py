"""What programs may not do to the visitors of the page: have it fetch things, fill its queue, answer for a chapter that was left."""

import http.server
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gradio import processing_utils

from tests.models import save_model
from tests.served import call, serve, upload
from vit_demo import questions
from vit_demo.models import Models
from vit_demo.page import IN_LINE
from vit_demo.samples import SAMPLES


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with serve(Models(str(save_model(tmp_path_factory.mktemp("page") / "model")))) as address:
        yield address


@pytest.fixture
def elsewhere(monkeypatch):
    """A machine that has a file; Gradio would take it for one on the public network. -> its address, and who asked there"""
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SAMPLES[0][0].read_bytes())

        def log_message(self, *_):
            pass

    async def fetch(url, cache_dir):
        asked.append(url)
        return processing_utils.save_bytes_to_cache(httpx.get(url).content, "picture.png", cache_dir)

    monkeypatch.setattr(processing_utils, "async_ssrf_protected_download", fetch)
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/picture.png", asked
        server.shutdown()


@pytest.mark.parametrize("place", ["picture", "k", "chapter", "question"])
def test_an_address_is_not_fetched_wherever_it_stands(page, elsewhere, place):
    address, asked = elsewhere
    there = {"path": address, "meta": {"_type": "gradio.FileData"}}
    picture = upload(page, "cat.png", SAMPLES[0][0].read_bytes())
    given = {"picture": ("predict", there, 3), "k": ("predict", picture, there), "chapter": ("scene", picture, there, 1, 1), "question": ("answer", picture, 7, {"a": [there]})}[place]
    event, told = call(page, *given)
    assert event == "error" and asked == []
    assert told["error"] == "A picture is sent as a file, not as an address: download it and send the file."
    assert call(page, "predict", picture, 3)[0] == "complete"


def test_the_example_that_programmers_copy_is_a_file(page):
    told = httpx.get(f"{page}/gradio_api/info").json()["named_endpoints"]
    assert [told[name]["parameters"][0]["example_input"]["path"] for name in ("/predict", "/scene", "/answer")] == ["picture.png"] * 3


def test_a_crowd_is_told_at_once_and_the_page_stays_open(page, monkeypatch):
    may, begun = threading.Event(), threading.Semaphore(0)
    monkeypatch.setattr(questions, "read", lambda *given: (begun.release(), may.wait(60), {"wanted": 0, "method": "attention", "against": None})[-1])
    picture = upload(page, "cat.png", SAMPLES[0][0].read_bytes())
    with ThreadPoolExecutor(40) as crowd:
        asked = [crowd.submit(call, page, "answer", picture, 7, {}) for _ in range(40)]
        assert begun.acquire(timeout=30)
        deadline = time.monotonic() + 60
        while sum(one.done() for one in asked) < 40 - 1 - IN_LINE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert {(one.result()[0], one.result()[1]["error"]) for one in asked if one.done()} == {("error", "Too many programs ask at once: ask again in some seconds.")}
        assert call(page, "predict", picture, 3)[0] == "complete"
        may.set()
        assert sorted(one.result()[0] for one in asked) == ["complete"] * (1 + IN_LINE) + ["error"] * (39 - IN_LINE)


def test_a_line_has_room_again_when_somebody_leaves_it(page):
    picture = upload(page, "cat.png", SAMPLES[0][0].read_bytes())
    for _ in range(IN_LINE + 3):
        assert call(page, "answer", picture, 7, {"method": "none"})[0] == "error"
    assert call(page, "answer", picture, 5, {"what": "look", "layer": 1, "token": 0})[0] == "complete"

