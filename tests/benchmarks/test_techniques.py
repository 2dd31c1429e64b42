"""`make recipes`: a row for each technique, in a file and in the docs."""

import json

import pytest

from benchmarks import techniques
from podium.config.loading import load_member

STAGES = [
    {"name": "head", "unfreeze": "none", "epochs": 1, "batch_size": 8, "image_size": 32, "learning_rate": 0.001},
    {"name": "all", "unfreeze": "all", "epochs": 4, "batch_size": 8, "image_size": 32, "learning_rate": 0.001},
]


def test_keys_of_every_technique_are_valid(tiny_competition):
    file = tiny_competition.member(stages=STAGES, tta=["horizontal_flip"], augmentation=["HorizontalFlip"])
    member = load_member(file)
    for name, technique in techniques.TECHNIQUES.items():
        if name == "stochastic depth":
            continue  # this backbone has none
        changed = load_member(file, techniques.changes_of(technique, member))
        assert (changed != member) != bool(technique.soup_rates), name
        assert changed.settings.stages[0] == member.settings.stages[0]  # its backbone is frozen


@pytest.mark.parametrize("trained", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_technique_is_measured_with_the_same_seeds_and_written(
    trained, tiny_competition, tmp_path, capsys, monkeypatch
):
    if not trained:
        monkeypatch.setattr(techniques, "measure", lambda *_: (0.5, 1.0))
    member = tiny_competition.member(stages=STAGES[1:], precision="float32")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{techniques.START}old\n{techniques.END}\nafter\n")
    options = ["--member", member, "--data", tiny_competition.folder, "--seeds", "2"]
    options += ["--out", tmp_path / "out.json", "--page", page, "--work", tmp_path / "work"]
    techniques.main([*map(str, options), "--only", "label smoothing"])
    printed = capsys.readouterr().out
    techniques.main([*map(str, options), "--only", "moving averages"])
    if trained:
        assert printed.count("as it is, seed") == 2
        assert "as it is, seed" not in capsys.readouterr().out  # measured before
    content = json.loads((tmp_path / "out.json").read_text())["tiny"]
    rows = {row["technique"]: row["scores"] for row in content["rows"]}
    assert set(rows) == {"", "label smoothing", "moving averages"}
    assert all(len(scores) == 2 for scores in rows.values())
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("\n| ") == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pseudo-labels", "distillation", "hard examples", "soup of three rates"])
def test_techniques_that_need_other_runs_train_them_before(name, tiny_competition, tmp_path):
    member = tiny_competition.member(stages=STAGES[1:], precision="float32")
    (tmp_path / "page.md").write_text(f"{techniques.START}{techniques.END}")
    options = ["--member", member, "--data", tiny_competition.folder, "--seeds", "1", "--only", name]
    options += ["--out", tmp_path / "out.json", "--page", tmp_path / "page.md", "--work", tmp_path / "work"]
    techniques.main([*map(str, options)])
    rows = json.loads((tmp_path / "out.json").read_text())["tiny"]["rows"]
    assert [row["technique"] for row in rows] == ["", name]
    kept = {path.name for path in (tmp_path / "work").glob("*/1/*")}
    assert ("pseudo" in kept) == techniques.TECHNIQUES[name].needs_labels
    assert sum(run.startswith("tiny-") for run in kept) == (2 if "pseudo" in kept else 4)  # the soup and its runs


def test_differences_are_those_of_the_same_seeds():
    rows = [
        {"technique": name, "scores": scores, "minutes": [1.0, 2.0]}
        for name, scores in (("", [0.5, 0.7]), ("worse", [0.4, 0.6]), ("mixed", [0.6, 0.8]), ("noisy", [0.7, 0.5]))
    ]
    rows.append({"technique": "once", "scores": [0.7], "minutes": [1.0]})
    text = techniques.table({"member": {"metric": "accuracy", "images": "cars", "rows": rows}})
    assert "`member`, cars: accuracy 0.6000 (standard deviation 0.1414) as it is" in text
    assert [line for line in text.splitlines() if line.endswith(("5 |", "0 |"))] == [
        "| once | +20.0 | 1 | 1.0 |",
        "| mixed | +10.0 ± 0.0 | 2 | 1.5 |",
        "| noisy | +0.0 ± 20.0 | 2 | 1.5 |",
        "| worse | -10.0 ± 0.0 | 2 | 1.5 |",
    ]
