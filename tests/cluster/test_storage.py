"""What is stored of a run folder, in which order, and what is fetched."""

from functools import partial
from pathlib import Path

import pytest

from podium.cluster.storage import Storage
from podium.errors import MachineError, RunError

NAMES = [f"checkpoint-00000{number}-{number:016x}.npz" for number in (1, 2, 3)]


@pytest.fixture(params=["folder", "memory"])
def storage(request, tmp_path):
    yield Storage(str(tmp_path / "storage") if request.param == "folder" else "memory://tests")
    if request.param == "memory":
        Storage("memory://tests").remove("runs")


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "one-12345678" / "fold0"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / NAMES[0]).write_bytes(b"first")
    (folder / "checkpoints" / "best-1.weights.h5").write_bytes(b"weights")
    (folder / "state.json").write_text("{}")
    (folder / ".writing-abc").write_text("half a file")
    return folder


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_comes_back_without_temporary_and_deleted_files(storage, run, tmp_path):
    assert not storage.pull("runs/a", tmp_path / "back")
    assert storage.last_checkpoint("runs/a") == 0
    storage.push(run, "runs/a")
    (run / "checkpoints" / NAMES[0]).unlink()
    (run / "checkpoints" / NAMES[1]).write_bytes(b"second")
    (run / "state.json").write_text('{"epoch": 2}')
    storage.push(run, "runs/a")
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "old.txt").write_text("replaced")
    assert storage.pull("runs/a", tmp_path / "back")
    (run / ".writing-abc").unlink()
    assert content(tmp_path / "back") == content(run)
    assert storage.last_checkpoint("runs/a") == 2
    storage.remove("runs/a")
    assert not storage.pull("runs/a", tmp_path / "back")


def test_weights_are_stored_before_the_checkpoint_that_refers_to_them_and_state_last(storage, run, monkeypatch):
    stored = []
    put = storage._push_file
    monkeypatch.setattr(storage, "_push_file", lambda path, *rest: stored.append(path.name) or put(path, *rest))
    storage.push(run, "runs/a")
    assert stored == ["best-1.weights.h5", NAMES[0], "state.json"]


def test_a_killed_upload_leaves_the_file_before_it(run, tmp_path, monkeypatch):
    storage = Storage(str(tmp_path / "storage"))
    storage.push(run, "runs/a")
    before = content(tmp_path / "storage")

    def write_a_part(source, target):
        with Path(target).open("wb") as file:
            file.write(b"par")
        raise KeyboardInterrupt

    monkeypatch.setattr(storage._files, "put_file", write_a_part)
    (run / "state.json").write_text('{"epoch": 2}')
    with pytest.raises(KeyboardInterrupt):
        storage.push(run, "runs/a")
    monkeypatch.undo()
    after = Storage(str(tmp_path / "storage"))
    assert {name: data for name, data in content(tmp_path / "storage").items() if ".part-" not in name} == before
    assert after.pull("runs/a", tmp_path / "back")
    assert (tmp_path / "back" / "state.json").read_text() == "{}"


def test_unchanged_files_are_not_stored_again(storage, run, monkeypatch):
    storage.push(run, "runs/a")
    sent = []
    put = storage._files.put_file
    monkeypatch.setattr(storage._files, "put_file", lambda path, to: sent.append(path) or put(path, to))
    (run / "history.csv").write_text("epoch\n")
    storage.push(run, "runs/a")
    assert [name.rpartition("/")[2] for name in sent] == ["history.csv"]
    Storage(storage.url).push(run, "runs/a")  # another process compares nothing but checkpoints
    assert NAMES[0] not in [name.rpartition("/")[2] for name in sent]


def test_an_unknown_kind_of_storage_is_one_line():
    with pytest.raises(MachineError, match=r"^--storage nothing://there: ValueError: Protocol not known: nothing"):
        Storage("nothing://there")


def test_names_that_leave_the_folder_are_refused(storage, run, tmp_path, monkeypatch):
    storage.push(run, "runs/a")
    outside = {"name": f"{storage._root}/runs/a/../../b", "size": 1, "type": "file"}
    monkeypatch.setattr(storage._files, "ls", lambda folder, detail: [outside])
    with pytest.raises(RunError, match="outside the folder"):
        storage.pull("runs/a", tmp_path / "back")
    monkeypatch.undo()


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(storage, run, tmp_path, monkeypatch):
    storage.push(run, "runs/a")

    def refused(folder, detail):
        raise PermissionError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(storage._files, "ls", refused)
        for use in (storage.last_checkpoint, partial(storage.pull, folder=tmp_path / "back"), storage.remove):
            with pytest.raises(MachineError, match=r"^--storage .*: PermissionError: not now"):
                use("runs/a")
        with pytest.raises(MachineError):
            storage.push(run / "checkpoints", "runs/a")
    assert storage.pull("runs/a", tmp_path / "back")
    assert (tmp_path / "back" / "state.json").is_file()


def test_whether_anything_is_stored_is_known(storage, run, tmp_path):
    assert storage.push(run, "runs/a")
    (tmp_path / "empty").mkdir()
    assert not storage.push(tmp_path / "empty", "runs/b")
    assert not storage.push(tmp_path / "missing", "runs/b")
