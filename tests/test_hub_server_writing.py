"""The local Hub, seen through the real client: commits and revisions."""
import hashlib
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RevisionNotFoundError

from tests.hub_server import HubServer
from tests.hub_server.client import put, status


# --- commits ------------------------------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Card")
    (tmp_path / "model.safetensors").write_bytes(os.urandom(1000))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/notes.txt").write_text("héllo")
    return tmp_path


def contents(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*")
            if p.is_file() and p.name != ".gitattributes" and ".cache" not in p.parts}


def test_upload_folder_is_one_commit_and_comes_back_byte_for_byte(hub, api, repo, folder, tmp_path_factory):
    before = len(hub.commits(repo))
    commit = api.upload_folder(repo_id=repo, folder_path=folder)
    assert len(hub.commits(repo)) == before + 1 and hub.commits(repo)[0]["id"] == commit.oid
    back = snapshot_download(repo, local_dir=tmp_path_factory.mktemp("back"))
    assert contents(back) == contents(folder)
    files = {f.path: f for f in api.list_repo_tree(repo, recursive=True)}
    assert files["model.safetensors"].lfs.size == 1000 and files["README.md"].lfs is None


def test_an_unchanged_folder_makes_no_commit_and_no_upload(hub, api, repo, folder):
    first = api.upload_folder(repo_id=repo, folder_path=folder)
    count = len(hub.commits(repo))
    mark = len(hub.calls)
    assert api.upload_folder(repo_id=repo, folder_path=folder).oid == first.oid
    assert len(hub.commits(repo)) == count
    assert not [c for c in hub.calls[mark:] if c["method"] == "PUT" or "/commit/" in c["path"]]


def test_delete_and_add_in_one_commit(api, repo):
    put(api, repo, "old.txt")
    put(api, repo, "dir/in.txt")
    api.create_commit(repo, [CommitOperationDelete("old.txt"), CommitOperationDelete("dir/"), CommitOperationAdd("new.txt", b"new")],
                      commit_message="swap")
    assert api.list_repo_files(repo) == [".gitattributes", "new.txt"]
    with pytest.raises(EntryNotFoundError):
        api.delete_file("old.txt", repo)


def test_a_refused_commit_changes_nothing(hub, api, repo):
    head = api.model_info(repo).sha
    with pytest.raises(EntryNotFoundError):
        api.create_commit(repo, [CommitOperationAdd("new.txt", b"new"), CommitOperationDelete("never-there.txt")], commit_message="x")
    assert api.model_info(repo).sha == head and "new.txt" not in api.list_repo_files(repo)


def test_a_stale_parent_commit_is_412(api, repo):
    old = api.model_info(repo).sha
    put(api, repo)
    with pytest.raises(HfHubHTTPError) as error:
        put(api, repo, "b.txt", parent_commit=old)
    assert status(error) == 412


def test_paths_that_leave_the_repository_are_422(api, repo):
    with pytest.raises(HfHubHTTPError) as error:
        put(api, repo, "..\\evil.txt")
    assert status(error) == 422


def test_two_commits_at_once_both_arrive(hub, api, repo):
    before = len(hub.commits(repo))
    jobs = [api.run_as_future(put, api, repo, f"{n}.txt") for n in range(4)]
    [job.result() for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: put(HfApi(), repo, f"t{n}.txt"), range(8)))
    assert len(hub.commits(repo)) == before + 12 and len(api.list_repo_files(repo)) == 1 + 12


def test_large_files_go_up_in_parts_and_once(tmp_path):
    content = os.urandom(2500)
    with HubServer(tmp_path, part_size=1000) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        api.create_repo("big")
        put(api, "tester/big", "w.safetensors", content)
        assert [c["path"][-2:] for c in hub.calls if c["method"] == "PUT"] == ["/1", "/2", "/3"]
        put(api, "tester/big", "again.safetensors", content)
        assert len([c for c in hub.calls if c["method"] == "PUT"]) == 3
        assert httpx.get(f"{hub.url}/tester/big/resolve/main/w.safetensors").content == content


def test_a_large_file_that_arrives_damaged_is_refused_and_not_kept(hub, api, repo):
    sha256 = hashlib.sha256(b"whole").hexdigest()
    auth = {"authorization": f"Bearer {hub.token}"}
    batch = httpx.post(f"{hub.url}/{repo}.git/info/lfs/objects/batch", json={"objects": [{"oid": sha256, "size": 5}]}, headers=auth)
    href = batch.json()["objects"][0]["actions"]["upload"]["href"]
    assert httpx.put(href, content=b"who").status_code == 400
    lines = [{"key": "header", "value": {"summary": "x"}},
             {"key": "lfsFile", "value": {"path": "w.bin", "algo": "sha256", "oid": sha256, "size": 5}}]
    commit = httpx.post(f"{hub.url}/api/models/{repo}/commit/main", content="\n".join(map(json.dumps, lines)), headers=auth)
    assert commit.status_code == 400 and "w.bin" not in api.list_repo_files(repo)
    assert httpx.put(href, content=b"whole").status_code == 200


def test_uploads_regular_puts_every_file_into_the_commit(tmp_path):
    with HubServer(tmp_path, uploads="regular") as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)
        api.create_repo("plain")
        put(api, "tester/plain", "w.safetensors", b"\0" * 100)
        assert not [c for c in hub.calls if c["method"] == "PUT"]
        assert api.get_paths_info("tester/plain", "w.safetensors")[0].lfs is None


def test_gitignored_files_are_left_out(api, repo, tmp_path):
    for name in (".gitignore", "keep.txt", "drop.log", "build/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("*.log\n/build/\n")
    api.upload_folder(repo_id=repo, folder_path=tmp_path)
    assert api.list_repo_files(repo) == [".gitattributes", ".gitignore", "keep.txt"]


def test_blob_and_tree_ids_are_those_of_git(api, repo, tmp_path):
    put(api, repo, "dir/a.txt", b"hello\n")
    found = {f.path: f for f in api.list_repo_tree(repo, recursive=True)}
    assert found["dir/a.txt"].blob_id == "ce013625030ba8dba906f756967f9e9ca394464a"       # echo hello | git hash-object --stdin
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "a.txt").write_text("hello\n")
    subprocess.run([*git, "add", "a.txt"], check=True)
    assert found["dir"].tree_id == subprocess.check_output([*git, "write-tree"], text=True).strip()


# --- revisions ----------------------------------------------------------------------------------------------------------

def test_branches_tags_and_commit_ids_all_resolve(api, repo):
    first = put(api, repo, content=b"one").oid
    api.create_tag(repo, tag="v1.0")
    api.create_branch(repo, branch="side")
    put(api, repo, content=b"two")
    put(api, repo, content=b"three", revision="side")
    read = {rev: Path(hf_hub_download(repo, "a.txt", revision=rev)).read_text() for rev in ("main", "v1.0", "side", first)}
    assert read == {"main": "two", "v1.0": "one", "side": "three", first: "one"}
    assert api.model_info(repo, revision=first[:7]).sha == first
    refs = api.list_repo_refs(repo)
    assert ({b.name for b in refs.branches}, [t.target_commit for t in refs.tags]) == ({"main", "side"}, [first])
    assert [c.title for c in api.list_repo_commits(repo)][-1] == "initial commit"
    for make in (lambda: api.create_tag(repo, tag="v1.0"), lambda: api.create_branch(repo, branch="side")):
        with pytest.raises(HfHubHTTPError, match="409"):
            make()
    api.delete_tag(repo, tag="v1.0")
    api.delete_branch(repo, branch="side")
    for gone in ("v1.0", "side"):
        with pytest.raises(RevisionNotFoundError):
            api.list_repo_files(repo, revision=gone)


def test_super_squash_keeps_the_files_and_drops_the_history(api, repo):
    put(api, repo)
    put(api, repo, "b.txt")
    files = api.list_repo_files(repo)
    api.super_squash_history(repo)
    assert (api.list_repo_files(repo), len(api.list_repo_commits(repo))) == (files, 1)


def test_large_files_are_listed_and_can_be_taken_out_of_history(api, repo):
    put(api, repo, "w.bin", b"weights")
    put(api, repo, "a.txt")
    listed = list(api.list_lfs_files(repo))
    assert [(f.filename, f.size) for f in listed] == [("w.bin", 7)]
    api.permanently_delete_lfs_files(repo, listed)
    assert not list(api.list_lfs_files(repo)) and api.list_repo_files(repo) == [".gitattributes", "a.txt"]
    assert [c.title for c in api.list_repo_commits(repo)][-1] == "initial commit" and len(api.list_repo_commits(repo)) == 3


def test_paths_info_knows_files_folders_and_last_commits(api, repo):
    put(api, repo, "dir/a.txt", commit_message="put a")
    put(api, repo, "b.txt", commit_message="put b")
    found = {i.path: i.last_commit.title for i in api.get_paths_info(repo, ["dir", "dir/a.txt", "b.txt", "nowhere"], expand=True)}
    assert found == {"dir": "put a", "dir/a.txt": "put a", "b.txt": "put b"}
