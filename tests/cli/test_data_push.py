"""`podium data push` against the stand-in: once for the same content, resumed, every refusal one line."""

import hashlib
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from standin.datasets import Dataset, DatasetVersion
from standin.faults import Fault
from standin.reported import as_reported

from podium import retries
from podium.kaggle import dataset_files, dataset_push, datasets
from podium.kaggle.dataset_files import CHECKSUMS

NAME = "ada/podium-weights"
LARGE = bytes(range(256)) * 40
FILES = {
    "Xception-imagenet.weights.h5": LARGE,
    "notes.txt": b"from the first run\n",
    "empty.txt": b"",
    "crops/train/a car.jpg": b"\xff\xd8 not really an image",
    "crops/test/b.jpg": b"\xff\xd8 neither",
}


@pytest.fixture
def here(tmp_path, monkeypatch, standin):
    """The current folder with `weights`; waits take no time."""
    monkeypatch.setattr(retries, "sleep", lambda seconds: None)
    monkeypatch.setattr(dataset_push, "pause", lambda seconds: None)
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        write(f"weights/{name}", content)
    return tmp_path


def write(name, content=b"content"):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)


def pushed(standin, name=NAME):
    """The files of each version, without their checksums."""
    versions = [dict(version.files) for version in standin.dataset_methods.pushed[name].versions]
    for files in versions:
        listed = files.pop(CHECKSUMS, b"").decode().splitlines()
        assert not files or listed == sorted(
            f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in files.items()
        )
    return versions


def bytes_sent(standin):
    return sum(call.request.size for call in standin.calls if call.method == "upload" and call.request)


def one_line(ended):
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    return ended.err


def test_a_folder_becomes_a_private_dataset(podium, here, standin):
    ended = podium("data", "push", "weights")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "weights: checksums of 5 files, 10.3 kB",
        f"{NAME}: uploading 5 files, 10.7 kB",
        f"{NAME}: created, waiting until Kaggle has processed it",
        f"{NAME}: version 1 is ready, https://www.kaggle.com/datasets/{NAME}",
        f"use: backbone.weights: kaggle-dataset:{NAME}/Xception-imagenet.weights.h5",
    ]
    assert pushed(standin) == [FILES]
    assert standin.datasets[NAME].keys() == {*FILES, CHECKSUMS}
    assert standin.dataset_methods.pushed[NAME].is_private
    assert not list(here.glob("runs/datasets/ada/.*.packing"))


def test_the_title_names_the_dataset(podium, here, standin):
    assert podium("data", "push", "weights", "--title", "Car weights, 2026").code == 0
    assert standin.dataset_methods.pushed["ada/car-weights-2026"].title == "Car weights, 2026"


def test_a_blend_is_pushed_with_its_runs_and_attached_by_an_inference_kernel(podium, here, standin, finished_ensemble):
    finished_ensemble.copy_to(here)
    (blend,) = (path.parent for path in Path("runs").glob("*/blend.json"))
    ended = podium("data", "push", blend)
    assert (ended.code, ended.err) == (0, "")
    name = f"ada/podium-{blend.name.replace('_', '-')}"
    command = f"podium kernel build --inference ENSEMBLE.yaml --attach kaggle-dataset:{name}"
    assert ended.out.splitlines()[-1] == f"use: {command}"
    (files,) = pushed(standin, name)
    assert {path.rpartition("/")[2] for path in files} == {
        "blend.json", "best.weights.h5", "config.yaml", "state.json", "predictions.json", "oof.csv",
    }  # fmt: skip
    assert sum(path.endswith("best.weights.h5") for path in files) == 4
    assert podium("kernel", "build", "--inference", finished_ensemble.ensemble).code == 0
    assert json.loads(Path("kernel-metadata.json").read_text())["dataset_sources"] == [name]


@pytest.mark.parametrize("machine", ["same", "another"])
def test_the_same_content_is_not_uploaded_again(podium, here, standin, machine):
    assert podium("data", "push", "weights").code == 0
    before = standin.count("StartBlobUpload")
    if machine == "another":
        shutil.rmtree("runs")
    write("weights/.hidden", b"not part of it")
    ended = podium("data", "push", "weights")
    assert (ended.code, ended.err) == (0, "")
    assert f"{NAME}: version 1 has the same files" in ended.out
    assert standin.count("StartBlobUpload") == before
    assert pushed(standin) == [FILES]


@pytest.mark.parametrize("machine", ["same", "another"])
def test_changed_content_becomes_a_version(podium, here, standin, machine):
    assert podium("data", "push", "weights").code == 0
    write("weights/notes.txt", b"changed")
    assert "version 2 is ready" in podium("data", "push", "weights").out
    if machine == "another":
        shutil.rmtree("runs")
    assert "version 2 has the same files" in podium("data", "push", "weights").out
    assert pushed(standin) == [FILES, FILES | {"notes.txt": b"changed"}]
    assert [version.number for version in standin.dataset_methods.pushed[NAME].versions] == [1, 2]


def test_the_content_of_an_older_version_becomes_the_newest_again(podium, here, standin):
    for content in (b"one", b"two", b"one"):
        write("weights/notes.txt", content)
        assert podium("data", "push", "weights").code == 0
    assert [files["notes.txt"] for files in pushed(standin)] == [b"one", b"two", b"one"]


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        (["boats/task.json", "boats/model.weights.h5"], ["use: backbone.preset: kaggle-dataset:ada/podium-new/boats"]),
        (["fold0/state.json", "fold0/best.weights.h5"], ["use: kaggle-dataset:ada/podium-new"]),
        (["competition.yaml", "train/1.jpg"], ["use: data_at_kaggle: kaggle-dataset:ada/podium-new"]),
    ],
)
def test_the_line_for_a_config_fits_the_content(podium, here, standin, files, lines):
    for name in files:
        write(f"new/{name}")
    assert podium("data", "push", "new").out.splitlines()[4:] == lines


# Interruptions


def test_an_upload_continues_where_it_was_interrupted(podium, here, standin):
    standin.dataset_methods.piece = 4_000
    standin.fail("upload", Fault.status(503), times=None, after=2)
    assert "uploading Xception-imagenet.weights.h5" in one_line(podium("data", "push", "weights"))
    assert standin.dataset_methods.pushed == {}
    standin.heal()
    assert podium("data", "push", "weights").code == 0
    assert pushed(standin) == [FILES]
    assert len([blob for blob in standin.dataset_methods.blobs.values() if blob.name.startswith("Xception")]) == 1


def test_a_file_that_arrives_in_pieces_is_complete(podium, here, standin):
    standin.dataset_methods.piece = 500
    assert podium("data", "push", "weights").code == 0
    assert pushed(standin) == [FILES]


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("fault", [Fault.reset_before(), Fault.reset_before(after_effect=True), Fault.status(500)])
def test_a_broken_upload_is_resumed(podium, here, standin, fault, after):
    standin.dataset_methods.piece = 4_000
    standin.fail("upload", fault, times=3, after=after)
    assert podium("data", "push", "weights").code == 0
    assert pushed(standin) == [FILES]


@pytest.mark.parametrize(("after", "has_arrived"), [(0, False), (1, False), (1, True)])
def test_an_upload_whose_response_drips_is_resumed(podium, here, standin, monkeypatch, after, has_arrived):
    """Each byte arrives within the time-out of a read. The first response says how much has arrived."""
    monkeypatch.setattr(datasets, "CALL_SECONDS", 0.3)
    monkeypatch.setattr(retries, "ATTEMPTS", 100)  # a busy machine may need longer for the others too
    standin.fail("upload", Fault.drip(after_effect=has_arrived), after=after)
    assert podium("data", "push", "weights").code == 0
    assert standin.count("upload") > 9
    assert pushed(standin) == [FILES]


def test_complete_files_are_not_sent_twice(podium, here, standin):
    standin.fail("StartBlobUpload", Fault.status(400), times=None, after=2)
    assert "status 400" in one_line(podium("data", "push", "weights"))
    standin.heal()
    assert podium("data", "push", "weights").code == 0
    assert len(standin.dataset_methods.blobs) == 5
    assert bytes_sent(standin) == sum(blob.size for blob in standin.dataset_methods.blobs.values())


def test_an_expired_upload_is_started_again(podium, here, standin):
    standin.fail("upload", Fault.status(503), times=None)
    assert podium("data", "push", "weights").code == 1
    standin.heal()
    standin.uploads.clear()
    assert podium("data", "push", "weights").code == 0
    assert pushed(standin) == [FILES]


@pytest.mark.parametrize("call", ["CreateDataset", "CreateDatasetVersion"])
def test_a_lost_response_creates_nothing_twice(podium, here, standin, call):
    standin.reported.late_datasets = 3
    standin.fail(call, Fault.reset_before(after_effect=True))
    assert podium("data", "push", "weights").code == 0
    write("weights/notes.txt", b"changed")
    assert podium("data", "push", "weights").code == 0
    assert standin.count("CreateDataset") == standin.count("CreateDatasetVersion") == 1
    assert len(pushed(standin)) == 2


def test_a_lost_request_is_sent_by_the_next_push(podium, here, standin):
    standin.fail("CreateDataset", Fault.reset_before())
    assert "creating the dataset ada/podium-weights" in one_line(podium("data", "push", "weights"))
    uploads = standin.count("StartBlobUpload")
    ended = podium("data", "push", "weights")
    assert ended.code == 0
    assert "looking for the version of the interrupted push" in ended.out
    assert (standin.count("StartBlobUpload"), len(pushed(standin))) == (uploads, 1)


@pytest.mark.parametrize("call", ["StartBlobUpload", "upload", "CreateDataset", "GetDatasetStatus"])
def test_a_stopped_push_is_resumed_and_creates_nothing_twice(podium, here, standin, call):
    number = 2 if call == "GetDatasetStatus" else 1
    standin.when(call, lambda: os.kill(os.getpid(), signal.SIGTERM), call=number)
    ended = podium("data", "push", "weights")
    assert ended.code == 75
    assert "resume with: podium data push weights" in ended.err
    is_created = call in ("CreateDataset", "GetDatasetStatus")
    assert standin.wait_until(lambda: not is_created or NAME in standin.dataset_methods.pushed)
    assert podium("data", "push", "weights").code == 0
    assert pushed(standin) == [FILES]


def test_a_push_comes_through_everything_that_is_reported(podium, here, standin):
    standin.reported = replace(as_reported(), calls_per_token=None)  # a key cannot be renewed
    for content in (b"one", b"two", b"two"):
        write("weights/notes.txt", content)
        assert podium("data", "push", "weights").code == 0
    assert [files["notes.txt"] for files in pushed(standin)] == [b"one", b"two"]


def test_a_version_that_is_processed_is_waited_for(podium, here, standin):
    assert podium("data", "push", "weights").code == 0
    other = DatasetVersion(2, "by hand", {}, pending=3)
    standin.dataset_methods.pushed[NAME].versions.append(other)
    ended = podium("data", "push", "weights")
    assert ended.code == 0
    assert "waiting until Kaggle has processed a version" in ended.out
    assert "version 3 is ready" in ended.out
    assert pushed(standin) == [FILES, {}, FILES]


# Refusals


def test_a_folder_that_cannot_be_a_dataset_is_one_line(podium, here, standin, monkeypatch):
    Path("empty").mkdir()
    write("zipped/train.zip")
    write("zipped/train/a.txt")
    write("keys/kaggle.json")
    write("tokens/train.log", b"a\nKGAT_" + b"0123456789abcdef" * 2)
    for number in range(51):
        write(f"many/{number}.txt")
    expected = {
        "none": "none is not a folder",
        "empty": "empty has no files to upload",
        "zipped": "train.zip and train",
        "keys": "the name of a key file",
        "tokens": "train.log, line 2: a key, token or password",
        "many": "51 files and folders at its top level, and a dataset may have 49",
    }
    for folder, message in expected.items():
        assert message in one_line(podium("data", "push", folder))
    assert "6 to 50 letters" in one_line(podium("data", "push", "weights", "--title", "abc"))
    assert "the title, line 1: a key" in one_line(podium("data", "push", "weights", "--title", "hf_" + "a1" * 15))
    monkeypatch.setattr(dataset_files, "LARGEST_DATASET", 5_000)
    assert "its largest file is Xception-imagenet.weights.h5 with 10.2 kB" in one_line(
        podium("data", "push", "weights")
    )
    assert standin.count("StartBlobUpload") == 0


def test_a_dataset_that_podium_did_not_push_is_not_changed(podium, here, standin):
    standin.dataset_methods.pushed[NAME] = Dataset(NAME, "Weights", 1, versions=[DatasetVersion(1, "", {})])
    assert "was not pushed by podium; nothing was changed" in one_line(podium("data", "push", "weights"))
    standin.dataset_methods.pushed[NAME].is_private = False
    assert "is public, and podium pushes only to private datasets" in one_line(podium("data", "push", "weights"))
    assert pushed(standin) == [{}]


def test_a_title_in_use_is_one_line(podium, here, standin):
    standin.dataset_methods.pushed["ada/old"] = Dataset("ada/old", "podium-weights", 1)
    message = one_line(podium("data", "push", "weights"))
    assert 'The requested title "podium-weights" is already in use' in message
    assert "choose another --title" in message


def test_the_name_of_a_kernel_is_one_line(podium, here, standin):
    standin.add_kernel(NAME)
    assert "a dataset or kernel may have this name: choose another --title" in one_line(
        podium("data", "push", "weights")
    )


def test_a_used_up_quota_is_one_line(podium, here, standin):
    standin.dataset_methods.quota = 100
    assert "usually the quota of private datasets is used up" in one_line(podium("data", "push", "weights"))


def test_a_dataset_that_cannot_be_processed_is_one_line(podium, here, standin):
    standin.dataset_methods.fails = True
    assert f"Kaggle could not process {NAME}" in one_line(podium("data", "push", "weights"))
    standin.dataset_methods.fails = False
    assert "version 2 is ready" in podium("data", "push", "weights").out


def test_a_file_that_changes_meanwhile_is_one_line(podium, here, standin):
    standin.when("upload", lambda: write("weights/Xception-imagenet.weights.h5", LARGE[::-1]))
    assert "Xception-imagenet.weights.h5 changed while it was uploaded" in one_line(podium("data", "push", "weights"))
    assert podium("data", "push", "weights").code == 0
    assert pushed(standin)[0]["Xception-imagenet.weights.h5"] == LARGE[::-1]


@pytest.mark.parametrize("code", [401, 403, 404, 500])
@pytest.mark.parametrize("call", ["StartBlobUpload", "upload", "CreateDataset"])
def test_a_permanent_failure_is_one_line_and_the_same_command_resumes(podium, here, standin, call, code):
    standin.fail(call, Fault.status(code), times=None)
    one_line(podium("data", "push", "weights"))
    standin.heal()
    assert podium("data", "push", "weights").code == 0
    assert pushed(standin) == [FILES]
