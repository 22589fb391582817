"""The page as app.py serves it, on a free port, and plain HTTP to talk to it."""

import contextlib
import json

import httpx

from vit_demo.models import Models
from vit_demo.page import build_page, launch_settings


@contextlib.contextmanager
def serve(models: Models):
    """-> the page's address"""
    page = build_page(models)
    try:
        yield page.launch(prevent_thread_lock=True, quiet=True, **launch_settings())[1].rstrip("/")
    finally:
        page.close()


def upload(address: str, name: str, content: bytes) -> dict:
    """What the browser does with a file -> how a call names it."""
    path = httpx.post(f"{address}/gradio_api/upload", files={"files": (name, content)}).raise_for_status().json()[0]
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def call(address: str, endpoint: str, *data):
    """The endpoint's (event, first answer): "complete" and a value, or "error" and what is told."""
    start = httpx.post(f"{address}/gradio_api/call/{endpoint}", json={"data": list(data)}).raise_for_status()
    text = httpx.get(f"{address}/gradio_api/call/{endpoint}/{start.json()['event_id']}", timeout=60).text
    event, told = [line.split(": ", 1)[1] for line in text.strip().split("\n\n")[-1].split("\n")]
    told = json.loads(told)
    return event, told[0] if isinstance(told, list) else told
