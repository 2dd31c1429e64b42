"""The metric of a competition, its own one included, and the form of its submissions."""

import numpy as np
import pytest
import yaml

from podium.config.competition import Competition
from podium.config.loading import files_of, load_competition, load_member
from podium.config.submission import FORMATS
from podium.errors import ConfigError
from podium.evaluation.metrics import metric_of

ABC = ["a", "b", "c"]
OWN = "HIGHER_IS_BETTER = False\ndef score(truth, predictions):\n    return abs(truth - predictions).sum()\n"


def content(kind, metric, **changes):
    name = kind["kind"] if isinstance(kind, dict) else kind
    classes = {"regression": None, "binary": ["no", "yes"]}.get(name, ABC)
    keys = {
        "slug": "leaves",
        "train": {"table": "train.csv", "images": "train/{id}"},
        "test": {"images": "test/{id}"},
        "target": kind,
        "classes": classes,
        "metric": metric,
        **changes,
    }
    return {key: value for key, value in keys.items() if value is not None}


def competition(kind, metric, **changes):
    return Competition(**content(kind, metric, **changes))


def problem_of(kind, metric, **changes):
    with pytest.raises(ConfigError) as caught:
        competition(kind, metric, **changes)
    return str(caught.value)


@pytest.fixture
def write(tmp_path):
    """Write a competition file, with the files next to it; returns its path."""

    def written(kind, metric, files=(), **changes):
        for name, text in dict(files).items():
            (tmp_path / name).write_text(text)
        path = tmp_path / "leaves.yaml"
        path.write_text(yaml.safe_dump(content(kind, metric, **changes), sort_keys=False))
        return path

    return written


# Metrics


def test_numbers_in_the_name_of_a_metric():
    assert metric_of(competition("multi_label", "samples_f2")).name == "samples_f2"
    assert "metric: 'map@0' is not a metric" in problem_of("single_label", "map@0")


def test_a_metric_that_does_not_score_the_target_lists_those_that_do():
    message = problem_of("soft_label", "accuracy")
    assert message.endswith(
        "metric: accuracy does not score the target soft_label; expected one of log_loss, kl_divergence, rmse,"
        " columnwise_rmse, mae"
    )
    assert "rmse does not score the target single_label" in problem_of("single_label", "rmse")


def test_an_unknown_metric_has_a_hint():
    assert "metric: 'macro-f1' is not a metric; did you mean 'macro_f1'?" in problem_of("single_label", "macro-f1")
    assert "metric: 'mcrmse' is not a metric; did you mean 'rmse'?" in problem_of("regression", "mcrmse")
    assert "metric: 'iou' is not a metric; expected one of log_loss, kl_divergence, rmse, columnwise_rmse, mae" in (
        problem_of("soft_label", "iou")
    )


def test_own_metric_is_read_from_the_file_next_to_the_competition(write, tmp_path, monkeypatch):
    path = write("regression", "mine.py:score", {"mine.py": OWN})
    monkeypatch.chdir(tmp_path.parent)
    loaded = load_competition(path)
    assert loaded.metric_code == OWN
    assert not metric_of(loaded).higher_is_better
    assert files_of(path) == [path, tmp_path / "mine.py"]


def test_own_metric_of_a_competition_made_in_python_is_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(OWN)
    assert competition("regression", "mine.py:score").metric_code == OWN


def test_resolved_competition_needs_no_file(write, tmp_path, monkeypatch):
    loaded = load_competition(write("regression", "mine.py:score", {"mine.py": OWN}))
    (tmp_path / "mine.py").unlink()
    assert Competition.model_validate(loaded.model_dump(mode="json", by_alias=True)) == loaded


@pytest.mark.parametrize(
    ("kind", "format", "columns", "values"),
    [
        ("single_label", "label", ["Answer"], ["b"]),
        ("single_label", "probabilities", ABC, [0.0, 1.0, 0.0]),
        ("multi_label", "probabilities", ABC, [0.0, 1.0, 0.0]),
    ],
)
def test_own_metric_gets_a_submission_as_it_is_written(write, kind, format, columns, values):
    code = (
        "HIGHER_IS_BETTER = True\n\ndef score(solution, submission, row_id_column_name):\n"
        "    del submission[row_id_column_name]\n"
        f"    return list(submission.columns) == {columns!r} and submission.values.tolist() == [{values!r}]\n"
    )
    path = write(kind, "mine.py:score", {"mine.py": code}, submission={"format": format, "label": "Answer"})
    truth = np.array([1]) if kind == "single_label" else np.array([[0, 1, 0]])
    assert metric_of(load_competition(path))(truth, np.array([[0.0, 1.0, 0.0]])) == 1.0


@pytest.mark.parametrize(
    ("metric", "files", "message"),
    [
        ("mine.py:score", {}, "metric: there is no file mine.py next to the competition file"),
        ("mine.py", {"mine.py": OWN}, "metric: expected FILE.py:FUNCTION, a file next to the competition file, got"),
        ("../mine.py:score", {"mine.py": OWN}, "metric: expected FILE.py:FUNCTION, a file next to"),
        ("mine.py:other", {"mine.py": OWN}, "metric: mine.py: expected a function `def other(truth, predictions)`"),
        ("mine.py:score", {"mine.py": "def score(t, p) 1"}, "metric: mine.py, line 1: not Python"),
        ("mine.py:score", {"mine.py": "import nothing_like_this"}, "metric: mine.py: expected a line HIGHER_IS_BETTER"),
    ],
)
def test_problems_of_an_own_metric_are_config_problems(write, metric, files, message):
    with pytest.raises(ConfigError) as caught:
        load_competition(write("regression", metric, files))
    assert message in str(caught.value)
    assert "leaves.yaml:" in str(caught.value)


def test_members_of_a_competition_with_an_own_metric(tiny_competition):
    config = tiny_competition.config
    (config.parent / "mine.py").write_text(OWN)
    tiny_competition.change(metric="mine.py:score")
    member = load_member(tiny_competition.member())
    assert member.competition.metric_code == OWN


# Submissions


@pytest.mark.parametrize(
    ("kind", "metric", "format"),
    [
        ("single_label", "log_loss", "label"),
        ("single_label", "map@3", "labels"),
        ("ordinal", "quadratic_kappa", "label"),
        ("binary", "roc_auc", "probabilities"),
        ("binary", "matthews", "indicators"),
        ("multi_label", "roc_auc", "probabilities"),
        ("multi_label", "macro_f1", "indicators"),
        ("soft_label", "kl_divergence", "probabilities"),
        ("regression", "quadratic_kappa", "numbers"),
    ],
)
def test_format_by_default(kind, metric, format):
    assert competition(kind, metric).submission_format == format


def test_labels_in_one_column_are_submitted_in_one_column():
    made = competition({"kind": "multi_label", "separator": "pipe"}, "samples_f1")
    assert (made.submission_format, made.label_separator, made.most_labels) == ("labels", "|", None)
    assert competition({"kind": "multi_label", "separator": "pipe"}, "roc_auc").submission_format == ("probabilities")
    ranked = competition("single_label", "map@3")
    assert (ranked.label_separator, ranked.most_labels) == (" ", 3)


def test_columns_of_a_submission():
    assert competition("binary", "roc_auc").answer_columns == ["Category"]
    assert competition("binary", "roc_auc", submission={"label": "target"}).answer_columns == ["target"]
    train = {"table": "train.csv", "images": "{id}", "label": "age"}
    assert competition("regression", "mae", train=train).answer_columns == ["age"]
    two = {"kind": "regression", "columns": ["x", "y"]}
    assert competition(two, "mae", submission={"columns": {"y": "b"}}).answer_columns == ["x", "b"]
    assert competition("multi_label", "roc_auc", submission={"columns": {"c": "z"}}).answer_columns == ["a", "b", "z"]


@pytest.mark.parametrize(
    ("kind", "metric", "submission", "message"),
    [
        ("regression", "mae", {"format": "label"}, "submission.format: the target regression is submitted as numbers"),
        (
            "multi_label",
            "roc_auc",
            {"format": "label"},
            "the target multi_label is submitted as probabilities or indicators or labels, not label",
        ),
        ("multi_label", "roc_auc", {"most": 2}, "submission.most: only for the format labels, got probabilities"),
        ("single_label", "accuracy", {"format": "labels"}, "submission.most: missing required key"),
        ("multi_label", "samples_f1", {"format": "labels", "most": 2, "none": "x"}, "submission.none: the 2 most"),
        (
            "single_label",
            "map@5",
            {"separator": "comma"},
            "submission.separator: the class 'a,b' contains it: choose another",
        ),
        (
            {"kind": "regression", "columns": ["x", "y"]},
            "mae",
            {"columns": {"z": "b"}},
            "submission.columns.z: 'z' is not one of target.columns; expected one of x, y",
        ),
    ],
)
def test_what_does_not_fit_a_submission_is_a_problem(kind, metric, submission, message):
    classes = {"classes": ["a,b", "c"]} if "separator" in submission else {}
    assert message in problem_of(kind, metric, submission=submission, **classes)


def test_every_target_has_a_format():
    for kind, formats in FORMATS.items():
        metric = {"regression": "rmse", "soft_label": "rmse"}.get(kind, "accuracy")
        for format in formats:
            most = {"most": 2} if (kind, format) == ("single_label", "labels") else {}
            made = competition(kind, metric, submission={"format": format, **most})
            assert made.submission_format == format
