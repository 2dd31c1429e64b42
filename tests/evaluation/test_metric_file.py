"""A competition's own metric: what its file has to say, what its function gets, and what becomes of its errors."""

import numpy as np
import pytest

from podium.errors import ConfigError, DataError
from podium.evaluation.metric_file import read_metric_file
from podium.evaluation.metrics import make_metric

ARRAYS = """
import numpy as np

HIGHER_IS_BETTER = False

def score(truth, predictions):
    return np.abs(truth - predictions).max()
"""
FRAMES = """
HIGHER_IS_BETTER: bool = True

def score(solution, submission, row_id_column_name, places=3):
    del solution[row_id_column_name], submission[row_id_column_name]
    assert list(solution.columns) == list(submission.columns)
    return round(float((solution * submission).sum(axis=1).mean()), places)
"""


def test_function_of_arrays():
    metric = make_metric("mine.py:score", code=ARRAYS, target="regression")
    assert (metric.name, metric.higher_is_better, metric.takes_answers) == ("mine.py:score", False, False)
    assert metric.is_own
    assert metric(np.array([[1.0], [2.0]]), np.array([[1.5], [4.0]])) == 2.0
    assert metric.better(0.1, 0.2)


def test_function_of_frames_as_kaggle_publishes_them():
    metric = make_metric("mine.py:score", code=FRAMES, target="single_label", columns=["cat", "dog"])
    assert metric(np.array([0, 1]), np.array([[0.7, 0.3], [0.2, 0.8]])) == 0.75
    one = make_metric("mine.py:score", code=FRAMES, target="binary", columns=["sick"])
    assert one(np.array([0, 1]), np.array([[0.7], [0.5]])) == 0.25


def test_frames_of_a_submission_of_labels_have_labels():
    code = (
        "HIGHER_IS_BETTER = True\ndef score(solution, submission, row_id_column_name):\n"
        "    assert list(solution.columns) == [row_id_column_name, 'animal']\n"
        "    assert set(solution['animal']) == {'cat', 'dog'}\n"
        "    return (solution['animal'] == submission['animal']).mean()\n"
    )
    frames = {"code": code, "columns": ["animal"], "labels": ["cat", "dog"]}
    truth = np.array([0, 1, 1])
    metric = make_metric("mine.py:score", target="single_label", **frames)
    assert metric(truth, np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4]])) == pytest.approx(2 / 3)
    assert make_metric("mine.py:score", target="binary", **frames)(truth, np.array([[0.7], [0.5], [0.9]])) == (
        pytest.approx(2 / 3)
    )


def test_function_that_takes_answers_gets_them():
    code = ARRAYS + "\nTAKES_ANSWERS = True\n"
    assert make_metric("mine.py:score", code=code, target="multi_label")(np.array([[1.0]]), np.array([[0.6]])) == 0


def test_warnings_of_the_function_are_not_shown():
    code = "import warnings\nHIGHER_IS_BETTER = True\ndef score(truth, predictions):\n"
    code += "    warnings.warn('seen before')\n    return 1\n"
    assert make_metric("mine.py:score", code=code, target="regression")(np.ones((1, 1)), np.ones((1, 1))) == 1


def test_function_may_change_its_arguments():
    code = "HIGHER_IS_BETTER = True\ndef score(truth, predictions):\n    predictions[:] = 0\n    return 1\n"
    predictions = np.ones((3, 1))
    assert make_metric("mine.py:score", code=code, target="regression")(np.ones((3, 1)), predictions) == 1
    assert (predictions == 1).all()


def test_file_may_define_classes_and_import_libraries():
    code = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom sklearn.metrics import f1_score\n"
        "HIGHER_IS_BETTER = True\n@dataclass\nclass Weights:\n    beta: float = 1.0\n"
        "def score(truth, predictions):\n    return f1_score(truth, predictions[:, 0] > Weights().beta / 2)\n"
    )
    assert make_metric("mine.py:score", code=code, target="binary")(np.array([0, 1]), np.array([[0.1], [0.9]])) == 1


def test_file_is_not_run_before_its_metric_is_computed():
    code = "HIGHER_IS_BETTER = True\nraise RuntimeError('run')\ndef score(truth, predictions): ...\n"
    metric = make_metric("mine.py:score", code=code, target="regression")
    assert metric.higher_is_better
    with pytest.raises(
        DataError, match=r"mine.py, line 2: RuntimeError: run; the competition's metric cannot be loaded"
    ):
        metric(np.ones((1, 1)), np.ones((1, 1)))


def test_a_module_that_the_file_needs_and_that_is_missing_is_named_with_the_line():
    code = "HIGHER_IS_BETTER = True\nimport seaborn_none\ndef score(truth, predictions): ...\n"
    with pytest.raises(DataError, match=r"mine.py, line 2: ModuleNotFoundError: No module named 'seaborn_none'"):
        make_metric("mine.py:score", code=code, target="regression")(np.ones((1, 1)), np.ones((1, 1)))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def score(truth, predictions) return 1", "mine.py, line 1: not Python: expected ':'"),
        ("def score(truth, predictions): ...", "mine.py: expected a line HIGHER_IS_BETTER = True, or False"),
        ("HIGHER_IS_BETTER = 'yes'\ndef score(t, p): ...", "expected a line HIGHER_IS_BETTER = True, or False"),
        (
            "HIGHER_IS_BETTER = True\nTAKES_ANSWERS = 1\ndef score(t, p): ...",
            "expected TAKES_ANSWERS to be True or False, got 1",
        ),
        (
            "HIGHER_IS_BETTER = True\ndef accuracy(t, p): ...",
            r"expected a function `def score\(truth, predictions\)`; it defines accuracy",
        ),
        ("HIGHER_IS_BETTER = True\ndef score(truth): ...", r"expected score to take \(truth, predictions\), or"),
        (
            "HIGHER_IS_BETTER = True\ndef score(t, p, *, beta): ...",
            r"expected score to take \(truth, predictions\), or",
        ),
        ("def other(): ...", "HIGHER_IS_BETTER = True, or False; expected a function"),
    ],
)
def test_all_problems_of_a_file_are_named(code, message):
    with pytest.raises(ValueError, match=message):
        read_metric_file("mine.py:score", code)
    with pytest.raises(ConfigError, match=message):
        make_metric("mine.py:score", code=code)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("1 / 0", "mine.py, line 3: ZeroDivisionError: division by zero; expected score to return the score"),
        ("None", "mine.py: TypeError: .*; expected score to return the score"),
        ("float('nan')", "mine.py: score returned NaN"),
        ("truth['Id']", "mine.py, line 3: IndexError"),
    ],
)
def test_errors_of_the_function_are_one_line(body, message):
    code = f"HIGHER_IS_BETTER = True\ndef score(truth, predictions):\n    return {body}\n"
    with pytest.raises(DataError, match=message) as caught:
        make_metric("mine.py:score", code=code, target="regression")(np.ones((2, 1)), np.ones((2, 1)))
    assert "\n" not in str(caught.value)
