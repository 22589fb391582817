"""What a fetch leaves behind when it gives up: nothing that goes on."""

import time
from dataclasses import replace
from threading import Event

import pytest
from huggingface_hub import constants

from tests.models import save_model
from vit_demo.classifier import load
from vit_demo.errors import Unreachable
from vit_demo.hub_cache import visitors_cache
from vit_demo.hub_model import DEFAULT_LIMITS


def test_a_download_that_takes_too_long_ends_and_the_callers_stop_is_left_alone(hub, tmp_path, monkeypatch):
    """Whoever asked may go on: with a copy kept from before, or by asking again later."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 20_000)
    name, stop, told = f"{hub.user}/slow", Event(), []
    hub.seed("models", name, save_model(tmp_path / "model"))
    hub.fault(f"{name}/resolve/.*safetensors", rate=100_000)  # 258,000 bytes, some of them every 0.7 s
    with pytest.raises(Unreachable, match="did not answer in time"):
        load(name, token=False, limits=replace(DEFAULT_LIMITS, download_seconds=1.5), stop=stop, report=lambda step, share=None: told.append(share))
    heard = list(told)
    time.sleep(2.5)
    assert told == heard and 0 < told[-1] < 1 and not stop.is_set()
    assert not [file for file in visitors_cache().rglob("*.incomplete") if "slow" in str(file)]
