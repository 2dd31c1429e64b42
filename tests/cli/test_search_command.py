"""`podium search` on drawn images."""

import csv

import cv2
import pytest
import yaml
from optuna.trial import TrialState, create_trial

from podium.config.yaml_file import read_yaml
from podium.runs import Run
from podium.workflows import search as workflow

SEARCH = {
    "stages.0.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "stages.0.optimizer": ["Adam", {"name": "SGD", "momentum": 0.9}],
}


@pytest.fixture
def member(tiny_competition, tmp_path, monkeypatch):
    """`member(search)`: the member file, with a comment."""
    monkeypatch.chdir(tmp_path)

    def written(search=SEARCH):
        path = tiny_competition.member()
        text = path.read_text() + (yaml.safe_dump({"search": search}) if search else "")
        path.write_text(f"# one of two\n{text}")
        return path

    return written


def trials_in(folder):
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_mistakes_are_reported_before_anything_is_read(podium, member, monkeypatch):
    path = member(search=None)
    code, out, err = podium("search", path, "--data", "nowhere")
    assert (code, out) == (1, "")
    assert err.startswith(f"podium: {path} has no key search; add what to vary, such as search: {{stages.0.learning_")
    path = member()
    for name in (path, "elsewhere.yaml"):
        code, _, err = podium("search", path, "--data", "nowhere", "--write", name)
        assert (code, err) == (
            1,
            f"podium: --write {name}: expected a new file in the folder of {path}, as its paths are relative to it\n",
        )
    monkeypatch.setattr(workflow, "find_spec", lambda name: None)
    assert podium("search", path, "--data", "nowhere") == (
        1,
        "",
        "podium: podium search needs Optuna: pip install 'podium-kit[search]'\n",
    )


@pytest.mark.slow
def test_search_of_two_trials_writes_the_best_member(podium, member, tiny_competition, tmp_path):
    path = member()
    best = path.parent / "best.yaml"
    command = ["search", path, "--data", tiny_competition.folder, "--trials", "2"]
    code, out, err = podium(*command, "--write", best)
    assert (code, err) == (0, "")
    assert "2 trials complete, 0 pruned" in out
    (folder,) = (tmp_path / "runs" / "search").glob("tiny-*")
    rows = trials_in(folder)
    assert [row["state"] for row in rows] == ["complete", "complete"]
    assert float(rows[0]["accuracy"]) >= float(rows[1]["accuracy"])
    for row in rows:
        run = Run(folder / row["run"] / "fold0")
        assert run.state["best"]["score"] == float(row["accuracy"])
        rate = yaml.safe_load(run.config.read_text())["member"]["stages"][0]["learning_rate"]
        assert rate == float(row["stages.0.learning_rate"])
        assert 1e-4 <= rate <= 1e-2
    assert cv2.imread(str(folder / "search.png")).std() > 10
    assert best.read_text().startswith("# one of two\n")
    assert str(read_yaml(best).content["stages"][0]["learning_rate"]) == rows[0]["stages.0.learning_rate"]
    assert podium("config", "check", best)[0] == 0
    code, again, err = podium(*command)
    assert (code, err) == (0, "")
    assert "tiny fold 0" not in again  # nothing was trained


@pytest.mark.slow
def test_trials_below_the_median_are_pruned(podium, member, tiny_competition, tmp_path):
    """Those with a rate far too low."""
    path = member({"stages.0.learning_rate": [5e-3, 1e-9], "stages.0.epochs": {"low": 2, "high": 3}})
    command = ["search", path, "--data", tiny_competition.folder, "--startup", "1", "--trials", "4", "--seed", "3"]
    code, out, err = podium(*command, "--set", "stages.0.schedule={kind: cosine, warmup_epochs: 1}")
    assert (code, err) == (0, "")
    (folder,) = (tmp_path / "runs" / "search").glob("tiny-*")
    pruned = [row for row in trials_in(folder) if row["state"] == "pruned"]
    assert pruned
    for row in pruned:
        assert float(row["stages.0.learning_rate"]) == 1e-9
        assert not (folder / row["run"] / "fold0" / "checkpoints").exists()
    assert "pruned" in out


def test_the_values_of_pruned_trials_are_not_the_best(tmp_path):
    """Optuna gives a pruned trial the value of its last epoch."""
    states = (TrialState.PRUNED, TrialState.COMPLETE)
    pruned, complete = (create_trial(state=state, value=0.5, user_attrs={"values": {"x": "1"}}) for state in states)
    assert workflow.SearchResult(tmp_path, "accuracy", [pruned], {}).best == {}
    assert workflow.SearchResult(tmp_path, "accuracy", [complete, pruned], {}).best == {"x": "1"}
