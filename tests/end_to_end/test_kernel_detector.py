"""Kernels of detectors: boxes packed or built in the kernel, training, evaluation, and use of the results here."""

import json
from pathlib import Path

import pytest
import yaml
from boxed_images import draw_set
from standin.sessions import run_pushed

from podium.detection.coco import write_coco
from podium.detection.formats import ImageFiles
from podium.runs import Run

DATASET = "ada/some-squares"
STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 4, "image_size": 64, "learning_rate": 1e-3}
BACKBONE = {"name": "SmallResNet", "weights": "none", "alpha": 0.25, "freeze_batchnorm": False}
DETECTOR = {
    "slug": "squares",
    "data_at_kaggle": f"kaggle-dataset:{DATASET}",
    "source": "coco",
    "split": "source",
    "backbone": BACKBONE,
    "levels": 5,
    "head": {"layers": 1},
    "augmentation": ["HorizontalFlip"],
    "stages": [STAGE],
}
WORKING = Path("build/rehearsal/kaggle/working")
QUICK, LONG = 1, 100
"""Epochs. A long training takes many times as long as everything before its first epoch."""


@pytest.fixture
def squares(tmp_path, podium):
    """Images with boxes in COCO format, and a detector file; the dataset is not built yet."""
    drawn = tmp_path / "drawn"
    write_coco(draw_set(drawn), tmp_path / "data" / "squares", ImageFiles("copy", drawn, drawn))
    return write_config()


def dataset():
    """The files of the data folder, as a Kaggle dataset."""
    data = Path("data/squares")
    return {path.relative_to(data).as_posix(): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def write_config(**changes):
    path = Path("squares.yaml")
    path.write_text(yaml.safe_dump(DETECTOR | changes))
    return path


@pytest.mark.slow
def test_packed_boxes_give_the_same_weights_as_training_here(squares, podium):
    assert podium("detect", "build", squares).code == 0
    built = podium("kernel", "build", squares)
    assert (built.code, built.err) == (0, "")
    assert "the dataset is packed" in built.out
    ended = podium("kernel", "run", "--layout", "old")
    assert (ended.code, ended.err) == (0, "")
    assert "AP@0.5" in ended.out
    report = json.loads((WORKING / "podium-report.json").read_text())
    (entry,) = report["runs"]
    assert (report["status"], report["kind"], entry["member"]) == ("done", "detector", "squares")
    assert podium("detect", "train", squares).code == 0
    here, there = Run(Path(entry["run"])), Run(WORKING / entry["run"])
    assert here.best_weights.read_bytes() == there.best_weights.read_bytes()
    assert (there.path / "evaluation" / "metrics.json").is_file()


@pytest.mark.slow
def test_boxes_and_detector_of_a_kernel_are_used_here(squares, podium, standin):
    standin.datasets[DATASET] = dataset()
    standin.runner = run_pushed
    ended = podium("kernel", "push", squares, "--follow")
    assert (ended.code, ended.err) == (0, "")
    assert "runs/boxes/squares: its dataset" in ended.out
    (version,) = standin.versions()
    assert (version.ref, version.sources) == ("ada/podium-squares/1", [("dataset", DATASET)])
    evaluated = podium("detect", "evaluate", squares)
    assert (evaluated.code, evaluated.err) == (0, "")
    (run,) = Path("runs").glob("squares-*/fold0")
    assert json.loads((run / "kernel.json").read_text())["kernel"] == "ada/podium-squares/1"
    found = podium("detect", "predict", squares, "drawn", "--threshold", "0", "--out", "found")
    assert (found.code, found.err) == (0, "")
    assert Path("found/boxes.csv").is_file()
    assert "already trained with this config" in podium("detect", "train", squares).out


@pytest.mark.slow
def test_dry_run_uses_local_data_and_no_weights(squares, podium):
    squares = write_config(backbone={**BACKBONE, "weights": "kaggle-kernel:ada/nets/small.weights.h5"})
    assert podium("detect", "build", squares).code == 0
    assert "the dataset is packed" in podium("kernel", "build", squares).out
    ended = podium("kernel", "run", "--dry-run", "--layout", "old")
    assert (ended.code, ended.err) == (0, "")
    assert "training on 8 images" in ended.out
    assert "done after" in ended.out


@pytest.mark.kill
def test_detector_that_runs_out_of_time_resumes_in_the_next_part(squares, podium, standin):
    assert podium("detect", "build", squares).code == 0
    standin.datasets[DATASET] = dataset()
    seconds = {}

    def run(version, inputs, working):
        late = len(standin.versions()) == 2
        code, lines = run_pushed(version, inputs, working, {"time_limit": 1.5 * seconds["first"]} if late else None)
        seconds.setdefault("first", max(line.time for line in lines))
        return code, lines

    standin.runner = run
    for epochs in (QUICK, LONG):
        ended = podium("fleet", "up", write_config(stages=[{**STAGE, "epochs": epochs}]))
        assert (ended.code, ended.err) == (0, "")
    numbers = ["podium-squares/1", "podium-squares/2", "podium-squares-part2/1"]
    assert [version.ref for version in standin.versions()] == [f"ada/{number}" for number in numbers]
    last = standin.versions()[-1]
    assert last.sources[-1] == ("kernel", "ada/podium-squares")
    assert "resuming at stage all, epoch " in last.log
    assert "squares  done  ada/podium-squares-part2/1" in ended.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--set", "data_at_kaggle=null"], "does not say where its images are on Kaggle"),
        (["--set", "data_at_kaggle=kaggle-dataset:ada"], "expected kaggle-dataset:<owner>/<slug>"),
        (["--fold", "0"], "a detector has neither folds nor test rows"),
        (["--set", "source={kind: coco, folder: /somewhere}"], "is an absolute path on this machine"),
        (["--set", "backbone.weights=some/file.h5"], "are a file on this machine"),
        (["--set", "backbone={preset: some/folder}"], "the preset some/folder is a folder on this machine"),
    ],
)
def test_config_that_cannot_work_in_a_kernel_is_refused_when_building(arguments, problem, squares, podium):
    ended = podium("kernel", "build", squares, *arguments)
    assert ended.code == 1
    assert problem in ended.err
    assert not Path("build").exists()
