"""Commands against a stand-in that behaves in every way that users report of Kaggle, all at once."""

import json

import pytest
from standin.reported import as_reported

from podium.kernel.report import REPORT

COMPETITION = """\
slug: cars
train: {table: train.csv, images: 'train/{id}'}
test: {images: 'test/{id}'}
classes: [red, blue]
metric: accuracy
"""
ANSWERS = {f"{number}.jpg": "red" if number % 2 else "blue" for number in range(20)}
SUBMISSION = "Id,Category\n" + "".join(f"{name},{label}\n" for name, label in ANSWERS.items())
RUN = {"runs/cars-12345678/fold0/state.json": b"{}", "runs/cars-12345678/fold0/best.weights.h5": b"weights" * 1000}
ENTRY = {"member": "cars", "fold": 0, "run": "runs/cars-12345678/fold0", "state": {}}


@pytest.fixture
def here(tmp_path, monkeypatch, standin):
    """The current folder, signed in by `kaggle auth login` only."""
    (tmp_path / "configs" / "competitions").mkdir(parents=True)
    (tmp_path / "configs" / "competitions" / "cars.yaml").write_text(COMPETITION)
    monkeypatch.chdir(tmp_path)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    standin.log_in()
    standin.reported = as_reported()
    files = {f"train/{name}": b"image" for name in ANSWERS} | {"sample-submission.csv": SUBMISSION.encode()}
    standin.add_competition("cars", files, answers=ANSWERS, pending=3, others={"grace": 0.5})
    return tmp_path


def test_data_is_downloaded_completely(podium, here):
    ended = podium("data", "download", "cars")
    assert (ended.code, ended.err) == (0, "")
    assert "note: Kaggle lists only 5 of the 21 files of cars" in ended.out
    assert len([path for path in (here / "data" / "cars").rglob("*") if path.is_file()]) == 21 + 1


def test_output_is_downloaded_and_the_log_followed(podium, here, standin):
    report = {"status": "done", "runs": [ENTRY], "files": {name: len(data) for name, data in RUN.items()}}
    files = RUN | {REPORT: json.dumps(report).encode()}
    standin.add_kernel("ada/podium-cars", files, source="from podium.kernel_main import run_job\n")
    standin.version("ada/podium-cars").tell("a line\n")
    pulled = podium("kernel", "pull", "ada/podium-cars")
    assert pulled.code == 0, pulled.err
    assert "; looking again in 20 s" in pulled.out
    assert (here / "runs/cars-12345678/fold0/best.weights.h5").read_bytes() == b"weights" * 1000
    followed = podium("kernel", "logs", "-f", "ada/podium-cars/1")
    assert followed.code == 0
    assert followed.out.splitlines().count("a line") == 1
    standin.delete_kernel("ada/podium-cars")
    assert "there is no kernel ada/podium-cars on Kaggle" in podium("kernel", "pull", "ada/podium-cars").err


def test_a_submission_is_sent_once_and_scored(podium, here, standin):
    (here / "data" / "cars").mkdir(parents=True)
    (here / "data" / "cars" / "sample-submission.csv").write_text(SUBMISSION)
    (here / "cars_blend.csv").write_text(SUBMISSION)
    standin.competitions["cars"].rules_accepted = False
    assert "you have not joined cars: accept its rules" in podium("submit", "cars_blend.csv", "-m", "x").err
    standin.competitions["cars"].rules_accepted = True
    ended = podium("submit", "cars_blend.csv", "-m", "x")
    assert (ended.code, ended.err) == (0, "")
    assert "public score 1.00000" in ended.out
    assert podium("board", "--sync").code == 0
    assert len(standin.submissions["cars"]) == 1
