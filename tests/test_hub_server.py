"""The local Hub, seen through the real client libraries: accounts, faults, and starting it by hand."""
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tests.hub_server import HubServer
from tests.hub_server.client import put, status


# --- accounts, repositories ---------------------------------------------------------------------------------------------

def test_whoami_names_the_user_role_and_organisations(hub, api):
    me = api.whoami()
    assert (me["name"], me["auth"]["accessToken"]["role"]) == (hub.user, "write")
    assert [org["name"] for org in me["orgs"]] == ["local-org"]
    assert api.whoami(token="hf_local_read")["auth"]["accessToken"]["role"] == "read"
    with pytest.raises(HfHubHTTPError) as error:
        api.whoami(token="hf_wrong")
    assert status(error) == 401


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_create_and_delete_repositories_of_each_type(api, kind):
    name = f"born-{kind}"
    more = {"repo_type": kind} | ({"space_sdk": "gradio"} if kind == "space" else {})
    url = api.create_repo(name, **more)
    assert (url.repo_id, url.repo_type) == (f"tester/{name}", kind)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(name, **more)
    assert api.create_repo(name, exist_ok=True, **more) == url
    assert ".gitattributes" in api.list_repo_files(url.repo_id, repo_type=kind)
    api.delete_repo(url.repo_id, repo_type=kind)
    assert not api.repo_exists(url.repo_id, repo_type=kind)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(url.repo_id, repo_type=kind)


def test_private_repositories_exist_only_for_their_owner(api, stranger):
    repo = api.create_repo("secret", private=True).repo_id
    assert api.model_info(repo).private
    with pytest.raises(RepositoryNotFoundError) as anonymous:
        api.model_info(repo, token=False)
    with pytest.raises(RepositoryNotFoundError) as other:
        stranger.model_info(repo)
    assert (status(anonymous), status(other)) == (401, 404)
    assert repo not in [m.id for m in stranger.list_models(author="tester")]
    assert repo in [m.id for m in api.list_models(author="tester")]
    api.update_repo_settings(repo, visibility="public")
    assert not stranger.model_info(repo).private


def test_who_may_not_write_is_told_403(api, stranger, repo):
    for other in (stranger, HfApi(token="hf_local_read")):
        with pytest.raises(HfHubHTTPError) as error:
            put(other, repo)
        assert status(error) == 403
    with pytest.raises(HfHubHTTPError, match="403"):
        stranger.create_repo("tester/not-mine")
    assert api.create_repo("local-org/ours").repo_id == "local-org/ours"


def test_a_moved_repository_answers_to_its_old_name(api, repo):
    put(api, repo)
    api.move_repo(repo, "tester/new-name")
    assert api.model_info(repo).id == "tester/new-name"
    assert Path(hf_hub_download(repo, "a.txt")).read_bytes() == b"one"


# --- faults -------------------------------------------------------------------------------------------------------------

def test_a_cut_download_is_resumed_by_the_client(hub, api, repo, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4_000_000)  # the client keeps what it got in whole pieces
    content = os.urandom(12_000_000)
    put(api, repo, "w.safetensors", content)
    hub.fault(r"resolve/.*w\.safetensors", method="GET", cut=11_000_000, times=1)
    mark = len(hub.calls)
    assert Path(hf_hub_download(repo, "w.safetensors")).read_bytes() == content
    got = [(c["status"], c["bytes"]) for c in hub.calls[mark:] if c["method"] == "GET"]
    assert got == [(200, 11_000_000), (206, 12_000_000 - 8_000_000)]


def test_a_commit_whose_answer_is_lost_has_happened_and_a_dropped_one_has_not(hub, api, repo):
    before = len(hub.commits(repo))
    hub.fault("/commit/", drop=True, times=1)
    with pytest.raises(Exception, match="(?i)disconnect|closed|peer|read"):
        put(api, repo)
    assert len(hub.commits(repo)) == before
    hub.fault("/commit/", cut=0, times=1)
    with pytest.raises(Exception, match="(?i)disconnect|closed|peer|read"):
        put(api, repo)
    assert len(hub.commits(repo)) == before + 1


def test_status_rules_strike_as_often_as_they_say(hub, api, repo):
    hub.fault(f"/api/models/{repo}", method="GET", status=429, headers={"Retry-After": "1"}, times=2)
    for _ in range(2):
        with pytest.raises(HfHubHTTPError) as error:
            api.model_info(repo)
        assert (status(error), error.value.response.headers["retry-after"]) == (429, "1")
    assert api.model_info(repo)


def test_a_slow_answer_is_slow_for_that_path_alone(hub, api, repo):
    hub.fault("whoami", delay=0.3)
    start = time.perf_counter()
    api.model_info(repo)
    middle = time.perf_counter()
    api.whoami()
    assert middle - start < 0.3 <= time.perf_counter() - middle


def test_stopping_does_not_wait_for_a_hanging_call(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        with HubServer(tmp_path) as hub:
            hub.fault("whoami", delay=60)
            hanging = pool.submit(httpx.get, f"{hub.url}/api/whoami-v2", timeout=60)
            while not hub.calls:
                time.sleep(0.01)
            start = time.perf_counter()
        assert time.perf_counter() - start < 5
        assert isinstance(hanging.exception(), httpx.HTTPError)


# --- by hand ------------------------------------------------------------------------------------------------------------

def test_started_by_hand_it_prints_what_to_paste_and_keeps_what_it_got(tmp_path):
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds/x.txt").write_text("x")
    command = [sys.executable, "-m", "tests.hub_server", "--root", str(tmp_path / "hub"), "--port", "0", "--user", "ann:hf_ann",
               "--seed-dataset", f"ann/ds={tmp_path / 'ds'}"]
    for visit in (1, 2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
        try:
            exports = [next(process.stdout) for _ in range(3)][2]
            env = dict(pair.split("=", 1) for pair in exports.split()[1:])
            assert env["HF_TOKEN"] == "hf_ann" and env["HF_HUB_DISABLE_XET"] == "1"
            api = HfApi(endpoint=env["HF_ENDPOINT"], token=env["HF_TOKEN"])
            assert "x.txt" in api.list_repo_files("ann/ds", repo_type="dataset")
            if visit == 1:
                api.create_repo("kept")
            assert api.repo_exists("ann/kept")
        finally:
            process.terminate()
            process.wait()


def test_a_taken_port_is_one_line(hub, tmp_path):
    command = [sys.executable, "-m", "tests.hub_server", "--root", str(tmp_path), "--port", str(hub.port)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 2 and "choose another --root or --port" in done.stderr and "Traceback" not in done.stderr


def test_the_addresses_that_clients_print_open_in_a_browser(hub, api, repo):
    commit = put(api, repo, "README.md", b"---\nlicense: mit\n---\n<script>", create_pr=True)
    for url in (hub.url, f"{hub.url}/{repo}", commit.commit_url, commit.pr_url):
        page = httpx.get(url)
        assert page.status_code == 200 and "<script>" not in page.text
    assert "&lt;script&gt;" in httpx.get(commit.commit_url).text
