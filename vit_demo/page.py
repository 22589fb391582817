"""The page: picture in, answer out, then the chapters. Layout and events; words and numbers come from chapters/."""

import asyncio
import logging
import time
from functools import wraps
from pathlib import Path

import gradio as gr
from gradio_client.utils import is_http_url_like

from vit_demo import questions, side
from vit_demo.chapters import CHAPTERS
from vit_demo.endpoints import Endpoints, Line
from vit_demo.errors import UserError
from vit_demo.looks import MOST, Look, Visit, look_at
from vit_demo.models import Models
from vit_demo.samples import FIRST, SAMPLES
from vit_demo.trace import TraceCache

WEB = Path(__file__).parent / "web"
TITLE = "ViT Demo: walk your own picture through a Vision Transformer"
INTRO = ("A Vision Transformer (ViT) names what a picture shows. Follow one picture through it, step by step, in numbers that "
         "are computed from it now.")
FONTS = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}  # nothing is fetched
KEPT_BYTES = 160_000_000  # of traces, for all visitors together; one of ViT-B/16 at 224 px takes about 30 MB
SESSIONS = 200  # of visitors that are remembered, each with the file they gave; one who comes back later begins anew
LONGEST_NAME = 300  # of a model
WAITING = 500  # clicks and questions of all visitors that may wait
IN_LINE = 6  # programs that may wait for an endpoint, each in a thread of forty that all share
HIDDEN = {"show_progress": "hidden", "api_visibility": "private"}


def upload_box(**options) -> gr.Image:
    """Gives the bytes of the file as they came. Reading them is left to images.py, which says what is wrong with them."""
    image = gr.Image(**options)
    image.preprocess = lambda payload: None if payload is None or payload.path is None else Path(payload.path).read_bytes()
    image.example_payload = lambda: {"path": "picture.png", "orig_name": "picture.png", "meta": {"_type": "gradio.FileData"}}
    return image  # not a subclass: Gradio writes an interface file beside the source of each


def files_only(block: gr.blocks.Block) -> None:
    """Gradio fetches whatever address stands where a file is expected, of any size, before anybody sees it."""
    taken = block.async_move_resource_to_block_cache

    async def take(path):
        if is_http_url_like(str(path)):
            raise said(UserError("a picture is sent as a file, not as an address: download it and send the file"))
        return await taken(path)

    block.async_move_resource_to_block_cache = take


def launch_settings() -> dict:
    """What launch() takes: theme, styles and scripts, all written into the page itself, and bounds for visitors."""
    scripts = "\n".join((WEB / name).read_text("utf-8") for name in sorted(
        (file.name for file in WEB.glob("*.js")), key=lambda name: (name != "vit.js", name)))
    styles = "\n".join((WEB / name).read_text("utf-8") for name in ("style.css", "chapter.css"))
    theme = gr.themes.Base(primary_hue="blue", neutral_hue="gray", **FONTS)
    return {"theme": theme, "css": styles, "head": f"<script>\n{scripts}\n</script>", "max_file_size": "20mb", "state_session_capacity": SESSIONS,
            "show_error": False, "enable_monitoring": False, "ssr_mode": False, "footer_links": ["api"]}


def mount(view: str, **options) -> gr.HTML:
    """An empty place that a function of web/ draws its value into."""
    return gr.HTML(None, html_template="<div></div>", apply_default_css=False,
                   js_on_load=f"vit.{view}(element, props, trigger, watch); /* 'select' 'ask' 'stop' */", **options)


def said(error: UserError) -> gr.Error:
    line = str(error)
    return gr.Error(line[:1].upper() + line[1:] + ".", title="That did not work", print_exception=False)


def build_page(models: Models) -> gr.Blocks:
    traces = TraceCache(KEPT_BYTES)

    def look(visit: Visit):
        try:
            return look_at(visit, models.get(visit.source), traces)
        except UserError as error:
            raise said(error) from error

    def ribbon_of(visit: Visit) -> dict:
        classifier = models.get(visit.source)
        return {"chapter": visit.chapter, "turn": time.monotonic_ns(), "stations": [[c.NAME, c.station(classifier)] for c in CHAPTERS]}

    def scene_of(chapter, seen: Look) -> dict:
        """A chapter that a stranger's model breaks leaves the page as it is."""
        try:
            return chapter.scene(seen)
        except Exception:
            logging.getLogger(__name__).exception("chapter %s of %s", chapter.NAME, seen.classifier.name)
            return {"view": "nothing", "story": "This chapter cannot be drawn of this model and picture; the others may."}

    def chapter_of(visit: Visit, seen: Look) -> dict:
        number, chapter = visit.chapter, CHAPTERS[visit.chapter - 1]
        return {"number": number, "of": len(CHAPTERS), "title": chapter.TITLE,
                "before": CHAPTERS[number - 2].TITLE if number > 1 else None,
                "after": CHAPTERS[number].TITLE if number < len(CHAPTERS) else None, **scene_of(chapter, seen)}

    def answers_still(visit: Visit) -> bool:
        """The model that was shown is the one that answers now: it may have had to make room, and a visit may be forgotten."""
        return visit.shown == side.identity(models.get(visit.source))

    def show(visit: Visit):
        """Everything, for a new picture or model."""
        visit = visit.at(shown=side.identity(models.get(visit.source)))
        seen = look(visit)
        return visit, ribbon_of(visit), side.of(seen, visit), chapter_of(visit, seen), side.answering(models, visit)

    def start(request: gr.Request):
        return show(Visit.from_address(dict(request.query_params), len(CHAPTERS)))

    def choose(visit: Visit, event: gr.EventData):
        told = sent(event)
        return *show(visit.at(sample=whole(told.get("sample"), 0, len(SAMPLES) - 1), upload=None, **looked_at(told))), None

    def upload(visit: Visit, picture: bytes | None):
        if picture is None:
            return show(visit) if visit.upload is None else show(visit.at(sample=FIRST, upload=None))
        return show(visit.at(sample=None, upload=picture))

    def go(visit: Visit, event: gr.EventData):
        told = sent(event)
        visit = visit.at(chapter=whole(told.get("chapter"), 1, len(CHAPTERS)), **looked_at(told))
        if not answers_still(visit):
            return show(visit)
        return visit, ribbon_of(visit), gr.skip(), chapter_of(visit, look(visit)), gr.skip()

    def ask(visit: Visit, event: gr.EventData):
        """What a chapter computes only when it is wanted, bit by bit; the last bit says so, for then the next may be asked."""
        question = sent(event)
        signed, last = {name: question.pop(name, None) for name in ("serial", "id")}, {"empty": True}
        yield signed | last  # now the browser can stop it
        try:
            if not answers_still(visit):
                raise UserError("this page is no longer up to date, since another model answers now: choose a chapter above")
            if question.pop("chapter", visit.chapter) != visit.chapter:  # it waited for its turn, and the visitor went on meanwhile
                yield signed | last | {"done": True}
                return
            seen = look(visit)
            asked = questions.read(seen, visit.chapter, question)
            for bit in CHAPTERS[visit.chapter - 1].answer(seen, asked):
                if not last.get("empty"):
                    yield last
                last = bit | signed
        except Exception as error:
            yield signed | {"empty": True, "done": True}
            raise said(error) if isinstance(error, UserError) else error
        yield last | signed | {"done": True}

    async def fetch(name: str):
        """Load a model that the visitor names, saying how it goes; the page answers with the old one meanwhile."""
        loading, turn = models.fetch((name or "").strip()[:LONGEST_NAME]), time.monotonic_ns()
        try:
            while not loading.done.is_set():
                yield side.coming(loading, turn), None
                await asyncio.sleep(0.3)
        finally:  # here too when the visitor stops it or goes away
            models.leave(loading)
        yield side.coming(loading, turn), loading.source if loading.classifier else None

    def newest(visit: Visit):
        """The name of the newer version of the model that answers."""
        held = models.held(visit.source)
        return f"{held.classifier.name}@{held.newer}" if held and held.newer else gr.skip()

    def arrived(visit: Visit, source: str | None):
        return (gr.skip(),) * 6 if source is None else (*show(visit.at(source=source)), gr.Timer(active=True))

    def tick(visit: Visit):
        """While the wanted model is on its way, or the Hub is asked for a newer one: say so; when another answers, show it."""
        wanted, held = models.wanted, models.held(visit.source)
        clock = gr.Timer(active=bool(wanted and not wanted.done.is_set() or held and held.asking))
        if visit.shown and not answers_still(visit):
            return *show(visit), clock
        return *(gr.skip(),) * 4, side.answering(models, visit), clock

    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(60, 600)) as page:
        visit, here = gr.State(Visit()), gr.State()
        ribbon = mount("ribbon", elem_id="ribbon")
        gr.HTML(f'<p class="vit quiet">{INTRO}</p>', apply_default_css=False, elem_id="intro")  # there before the first answer
        with gr.Row(elem_id="columns"):
            with gr.Column(elem_id="left"):
                line = mount("answering", elem_id="model-line")
                left = mount("side", elem_id="side")
                own = upload_box(sources=["upload", "clipboard", "webcam"], label="your own picture", show_label=False, height=96,
                             placeholder="your own picture: drop, or click", alt_text="the picture you gave", buttons=[],
                             elem_id="upload")
                with gr.Accordion("Another model", open=False, elem_id="models"):
                    name = gr.Textbox(label="a ViT on the Hub", placeholder="user/model", max_lines=1, lines=1)
                    load = gr.Button("Load", size="sm")
                coming = mount("loading", elem_id="coming")
            with gr.Column(elem_id="right"):
                chapter = mount("chapter", elem_id="chapter")
        reply = mount("reply", elem_id="reply")
        everything = [visit, ribbon, left, chapter, line]
        clock = gr.Timer(1, active=models.wanted is not None)

        # One after the other, so that each goes on from the place where the one before it ended.
        moves = {**HIDDEN, "concurrency_id": "visit", "concurrency_limit": 1}
        moved = [page.load(start, None, everything, **moves),
                 left.select(choose, visit, [*everything, own], trigger_mode="multiple", **moves),
                 gr.on([ribbon.select, chapter.select], go, visit, everything, trigger_mode="multiple", **moves)]
        for move in moved:
            move.failure(None, None, None, js="() => vit.steps.free()", **HIDDEN)  # the next click need not wait for an answer that will not come
        given = gr.on([own.clear, own.input], upload, [visit, own], everything, trigger_mode="multiple", **moves)
        given.failure(None, None, own, js="() => null", **HIDDEN)  # what cannot be shown does not stay in the box
        asked = chapter.ask(ask, visit, reply, trigger_mode="multiple", concurrency_limit=3, **HIDDEN)
        chapter.stop(None, None, None, cancels=[asked], **HIDDEN)
        light = {**HIDDEN, "concurrency_limit": 32}  # they wait more than they work
        loads = [gr.on([load.click, name.submit], fetch, name, [coming, here], **light),
                 line.select(newest, visit, name, **HIDDEN).then(fetch, name, [coming, here], **light)]
        for loaded in loads:
            loaded.then(arrived, [visit, here], [*everything, clock], **moves)
        coming.stop(None, None, None, cancels=loads, **HIDDEN)
        clock.tick(tick, visit, [*everything, clock], **moves)

        with gr.Row(visible=False):  # the public endpoints' own inputs and outputs
            public(Endpoints(models, traces))
        for block in page.blocks.values():
            files_only(block)
    return page.queue(max_size=WAITING, default_concurrency_limit=2)


def public(endpoints: Endpoints) -> None:
    def offer(function, inputs: list, output: str, most: int) -> None:
        line = Line(most, IN_LINE)

        @wraps(function)  # its docstring is what /gradio_api/info tells
        def asked(*values):
            try:
                with line.turn():
                    return function(*values)
            except UserError as error:
                raise said(error) from error

        gr.Button().click(asked, inputs, gr.JSON(label=output), api_name=function.__name__,
                          concurrency_limit=most + IN_LINE + 2)  # two more, to refuse whom the line has no room for

    offer(endpoints.predict, [upload_box(label="picture"), gr.Number(5, label="k")], "probabilities", 2)
    offer(endpoints.scene, [upload_box(label="picture"), *(gr.Number(1, label=name) for name in ("chapter", "layer", "head"))], "scene", 2)
    offer(endpoints.answer, [upload_box(label="picture"), gr.Number(7, label="chapter"), gr.JSON({}, label="question")], "answer", 1)


def whole(value, first: int, last: int) -> int:
    """A whole number that a browser sent, held within bounds."""
    return min(max(value, first), last) if isinstance(value, int) else first


def sent(event: gr.EventData) -> dict:
    """What came with an event; from a browser it is a table."""
    return dict(event._data) if isinstance(event._data, dict) else {}


def looked_at(told: dict) -> dict:
    """The layer and head (from 0) that a browser says are looked at."""
    return {name: whole(told[name], 0, MOST - 1) for name in ("layer", "head") if name in told}
