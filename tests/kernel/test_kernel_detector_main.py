"""What a detector's script does in the kernel: takes the set that travelled, tells a stop, builds what is not there."""

import json
from pathlib import Path

import pytest
from boxed_images import detector, draw_set, stage
from rich.console import Console

from podium import kernel_detector as inside_detector
from podium import kernel_detector_build as inside_building
from podium.detection.dataset import write_dataset
from podium.detection.loading import Detector
from podium.errors import DataError
from podium.kernel.job import Job
from podium.kernel.report import REPORT
from podium.kernel.session import Session
from podium.signals import StopCondition

ABOUT = {"title": "detector squares", "podium": "0.1.0", "commit": "c", "config_digest": "12345678"}
JOB = Job(kind="detector", config="squares.yaml")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """An unpacked script in a kernel's folders, with the set of its images, which are mounted."""
    unpacked, working, mounted = (tmp_path / name for name in ("unpacked", "working", "input"))
    for folder in (unpacked / "configs", working):
        folder.mkdir(parents=True)
    boxset = draw_set(mounted / "datasets" / "ada" / "squares")
    write_dataset(boxset, unpacked / "boxes" / "squares")
    settings = detector(data_at_kaggle="kaggle-dataset:ada/squares", stages=[stage()])
    (unpacked / "configs" / "squares.yaml").write_text(settings.model_dump_json())
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(mounted))
    monkeypatch.chdir(working)
    return unpacked


def test_stop_for_lack_of_time_is_no_failure_and_leaves_the_set(kernel):
    job = JOB.model_copy(update={"time_limit": 0.001})
    inside_detector.run_job(job.model_dump(mode="json"), ABOUT, kernel)
    report = json.loads(Path(REPORT).read_text())
    assert (report["status"], report["boxes"]) == ("stopped", "runs/boxes/squares")
    assert report["why"].startswith("--time-limit 0s: stopped before the first step")
    assert [entry["member"] for entry in report["runs"]] == ["squares"]


def test_without_its_set_a_script_that_cannot_build_it_fails(kernel):
    (kernel / "boxes" / "squares" / "index.json").unlink()
    with pytest.raises(DataError, match="the set of boxes of squares did not travel"):
        inside_detector.run_job(JOB.model_dump(mode="json"), ABOUT, kernel)
    assert not Path(REPORT).exists()


def test_nothing_is_fetched_into_what_is_mounted(kernel, monkeypatch):
    asked = []
    monkeypatch.setattr("podium.workflows.detect_build.build", lambda one, *_: asked.append(one.settings.source.fetch))
    source = {"kind": "openimages", "fetch": {}, "urls": ["a.tsv"]}
    settings = detector(source=source, classes=["Boat"], data_at_kaggle="kaggle-dataset:ada/squares")
    session = Session(JOB, ABOUT, kernel, StopCondition(None), Console(quiet=True))
    inside_building.build_set(Detector("squares", settings), session)
    assert settings.source.fetch is not None
    assert asked == [None]
