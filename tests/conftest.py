"""What all tests share: an environment that reaches nothing but this machine, the local Hub, and the test data."""
import os
import signal
import socket
import tempfile
import uuid
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.browser")  # its fixtures ask whether something went wrong, and should say what

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background commands, and all that they start, ignore Ctrl-C

# The client libraries read these once, when they are imported: this file is read before any test module.
# The port is held from here on; until a test asks for `hub`, connections to it are refused at once.
PORT = socket.socket()
PORT.bind(("127.0.0.1", 0))
HOME = tempfile.TemporaryDirectory(prefix="vit-demo-tests-")
os.environ.update({
    "HF_ENDPOINT": "http://127.0.0.1:%d" % PORT.getsockname()[1],
    "HF_TOKEN": "hf_local",
    "HF_HOME": HOME.name + "/hf",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_TEMP_DIR": HOME.name + "/gradio",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": HOME.name + "/matplotlib",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
})
for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HUGGING_FACE_HUB_TOKEN", "VIT_DEMO_MODEL"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """The local Hub, to which huggingface_hub, transformers and datasets of this process already point.

    It is shared: give every repository a name of its own. Fault rules go away after each test.
    """
    from tests.hub_server import HubServer
    server = HubServer(tmp_path_factory.mktemp("hub")).start(PORT)
    yield server
    server.stop()


@pytest.fixture
def api(hub):
    """huggingface_hub's client, as `tester`, who may write."""
    from huggingface_hub import HfApi
    return HfApi()


@pytest.fixture
def stranger(hub):
    """The same for another user."""
    from huggingface_hub import HfApi
    return HfApi(token="hf_stranger")


@pytest.fixture
def repo(api) -> str:
    """The id of a fresh model repository with nothing in it."""
    return api.create_repo(f"repo-{uuid.uuid4().hex[:8]}").repo_id


@pytest.fixture(autouse=True)
def _no_faults_left(request):
    yield
    if "hub" in request.fixturenames:
        request.getfixturevalue("hub").clear_faults()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with cifar10/ and vit-tiny/."""
    folder = os.environ.get("VIT_DEMO_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("VIT_DEMO_DATA is not set to a folder with cifar10/ and vit-tiny/")
    return Path(folder)
