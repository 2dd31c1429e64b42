"""A kernel that only predicts, rehearsed with another test set than its runs were trained with."""

import csv
import shutil
from pathlib import Path

import pytest
from namespaces import has_namespaces

WORKING = Path("build/rehearsal/kaggle/working")


@pytest.fixture
def built(podium, finished_ensemble, tmp_path):
    finished_ensemble.copy_to(tmp_path)
    attach = ["--attach", "kaggle-dataset:ada/trained"]
    assert podium("kernel", "build", "--inference", finished_ensemble.ensemble, *attach).code == 0
    return finished_ensemble


def ids_in(path):
    return [row[0] for row in csv.reader(path.read_text().splitlines())][1:]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["new", "old"])
def test_runs_of_one_test_set_predict_another_without_network(layout, podium, built):
    ended = podium("kernel", "run", "--data", built.competition.folder, "--layout", layout)
    assert (ended.code, ended.err) == (0, ""), ended.out
    assert ended.out.startswith("rehearsal: no network") or not has_namespaces()
    ids = ids_in(WORKING / "submission.csv")
    assert ids == ids_in(Path("build/hidden-test/sample-submission.csv"))
    assert len(ids) == 12
    assert not set(ids) & set(built.competition.answers)
    assert "submission.csv has exactly the 12 ids of another test set, build/hidden-test" in ended.out
    assert sorted(path.name for path in Path("build/hidden-test").iterdir()) == ["sample-submission.csv", "test_upload"]


def test_rehearsal_trains_nothing(podium, built):
    for option in (["--dry-run"], ["--limit", 8]):
        ended = podium("kernel", "run", "--data", built.competition.folder, *option)
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert "an inference kernel trains nothing" in ended.err


def test_run_that_changed_after_the_blend_is_an_error_before_the_rehearsal(podium, built):
    (weights,) = Path("runs").glob("first-*/fold0")
    shutil.rmtree(weights)
    ended = podium("kernel", "run", "--data", built.competition.folder)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "which is missing or by other weights than then: predict and blend again" in ended.err
