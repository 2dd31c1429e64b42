"""Kernels without Kaggle: built, rehearsed, and their output read like that of a real kernel."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from podium.config.loading import load_ensemble, load_member
from podium.runs import Run

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("members/*.yaml")) + sorted(CONFIGS.glob("ensembles/*.yaml"))
REHEARSED = [one for one in SHIPPED if one.parent.name == "ensembles" or one.stem == "dinov2_small"]
"""Ensembles with their members, one of them in the old layout, and a preset."""


@pytest.mark.slow
def test_kernel_of_a_member_gives_the_same_results_as_training_here(podium, tiny_competition):
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


@pytest.mark.slow
def test_notebook_runs_in_jupyter(podium, tiny_competition, tmp_path, monkeypatch):
    options = ["--fold", "0", "--notebook", "--gpu", "none"]
    assert podium("kernel", "build", tiny_competition.member(), *options).code == 0
    mounted = tmp_path / "input" / "competitions" / "tiny-squares"
    mounted.parent.mkdir(parents=True)
    mounted.symlink_to(tiny_competition.folder)
    (tmp_path / "working").mkdir()
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(tmp_path / "input"))
    notebook = nbformat.read("build/kernel.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "working")}}).execute()
    report = json.loads((tmp_path / "working" / "podium-report.json").read_text())
    assert (report["status"], report["runs"][0]["member"]) == ("done", "tiny")


@pytest.mark.slow
def test_kernel_of_an_ensemble_writes_a_submission(podium, tiny_competition):
    ensemble = tiny_competition.ensemble([tiny_competition.member(), tiny_competition.member("other", seed=7)])
    assert podium("kernel", "build", ensemble).code == 0
    ended = podium("kernel", "run", "--data", tiny_competition.folder, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    working = Path("build/rehearsal/kaggle/working")
    submission = json.loads((working / "podium-report.json").read_text())["submission"]
    assert (working / "submission.csv").read_bytes() == (working / submission).read_bytes()
    assert "well-formed, but from a dry run; do not submit it" in ended.out


def test_failing_script_is_an_error_after_its_log(podium, tiny_competition):
    assert podium("kernel", "build", tiny_competition.member()).code == 0
    Path("build/kernel.py").write_text("raise ValueError('in the script')")
    ended = podium("kernel", "run", "--data", tiny_competition.folder)
    assert (ended.code, ended.err) == (1, "podium: the script failed with exit code 1; its log is above\n")
    assert "ValueError: in the script" in ended.out


def test_rehearsal_needs_a_built_script(podium):
    ended = podium("kernel", "run")
    assert (ended.code, ended.err) == (
        1,
        "podium: there is no build/kernel.py to rehearse; build it with podium kernel build CONFIG.yaml\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "layout"),
    [(path, "old" if path.stem == "sf_dl_cars" else "new") for path in REHEARSED],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_kernels_of_shipped_configs_can_be_rehearsed(config, layout, podium, make_tiny_competition, tmp_path):
    """With a few drawn images instead of the real data."""
    loaded = load_ensemble(config) if "ensembles" in str(config) else load_member(config)
    colours = {label: (20 * int(label), 200 - 20 * int(label), 90) for label in loaded.competition.labels}
    drawn = make_tiny_competition(tmp_path / "drawn", train=8 * len(colours), colours=colours)
    assert podium("kernel", "build", config).code == 0
    ended = podium("kernel", "run", "--data", drawn.folder, "--dry-run", "--layout", layout)
    assert (ended.code, ended.err) == (0, "")
    assert "done after" in ended.out
    for member in getattr(loaded, "members", [loaded]):
        assert all(f"{stage.name} 1/1" in ended.out for stage in member.settings.stages)
