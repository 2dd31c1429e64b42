"""The whole way of a kernel without Kaggle: built, rehearsed in both layouts, read as a real one's output is."""

import json
from pathlib import Path

import pytest

from podium.config.loading import load_ensemble, load_member
from podium.runs import Run

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("members/*.yaml")) + sorted(CONFIGS.glob("ensembles/*.yaml"))


def test_a_members_kernel_leaves_what_training_here_would(podium, tiny_competition):
    member = tiny_competition.member()
    data = ["--data", tiny_competition.folder]
    assert podium("kernel", "build", member, "--fold", "0").code == 0
    ended = podium("kernel", "run", *data, "--layout", "old")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("rehearsal: ")
    assert "python 3." in ended.out
    working = Path("build/rehearsal/kaggle/working")
    report = json.loads((working / "podium-report.json").read_text())
    (entry,) = report["runs"]
    assert (report["status"], entry["member"], entry["fold"]) == ("done", "tiny", 0)
    assert podium("train", member, *data, "--fold", "0").code == 0
    assert podium("predict", member, *data, "--fold", "0").code == 0
    here, there = Run(Path(entry["run"])), Run(working / entry["run"])
    assert here.best_weights.read_bytes() == there.best_weights.read_bytes()
    for name in ("oof.csv", "test.csv"):
        predictions = Path(entry["predictions"]) / name
        assert predictions.read_bytes() == (working / predictions).read_bytes()
    assert there.versions["commit"] == here.versions["commit"]


def test_an_ensembles_kernel_ends_with_its_submission(podium, tiny_competition):
    ensemble = tiny_competition.ensemble([tiny_competition.member(), tiny_competition.member("other", seed=7)])
    assert podium("kernel", "build", ensemble).code == 0
    ended = podium("kernel", "run", "--data", tiny_competition.folder, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    working = Path("build/rehearsal/kaggle/working")
    submission = json.loads((working / "podium-report.json").read_text())["submission"]
    assert (working / "submission.csv").read_bytes() == (working / submission).read_bytes()
    assert "valid in form, but from a dry run: to look at, not to submit" in ended.out


def test_script_that_fails_is_told(podium, tiny_competition, tmp_path):
    member = tiny_competition.member()
    assert podium("kernel", "build", member).code == 0
    (tmp_path / "empty").mkdir()
    ended = podium("kernel", "run", "--data", tmp_path / "empty")
    assert ended.code == 1
    assert ended.err.startswith("podium: the script failed with exit code 1; its log is above")
    assert "DataError" in ended.out


def test_without_a_script_there_is_nothing_to_rehearse(podium):
    ended = podium("kernel", "run")
    assert (ended.code, ended.err) == (
        1,
        "podium: there is no build/kernel.py to rehearse; build it with podium kernel build CONFIG.yaml\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["new", "old"])
@pytest.mark.parametrize("config", SHIPPED, ids=lambda path: path.stem)
def test_the_kernel_of_every_shipped_config_rehearses(config, layout, podium, make_tiny_competition, tmp_path):
    """On a few drawn images under the names of the real competition's."""
    loaded = load_ensemble(config) if "ensembles" in str(config) else load_member(config)
    colours = {label: (20 * int(label), 200 - 20 * int(label), 90) for label in loaded.competition.labels}
    drawn = make_tiny_competition(tmp_path / "drawn", train=8 * len(colours), colours=colours)
    assert podium("kernel", "build", config).code == 0
    ended = podium("kernel", "run", "--data", drawn.folder, "--dry-run", "--layout", layout)
    assert (ended.code, ended.err) == (0, "")
    assert "done after" in ended.out
