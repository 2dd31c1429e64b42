"""Kernels that only predict: what they attach, find, check and write. Rehearsals are in tests/end_to_end."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from podium.errors import DataError
from podium.files import write_json
from podium.kernel.bundle import BLEND
from podium.kernel.job import Job
from podium.kernel.script import read_packed
from podium.kernel_main import run_job
from podium.workflows.inference_jobs import stage_blend

ABOUT = {"title": "a test", "podium": "0.1.0", "commit": "c", "config_digest": "12345678"}
ATTACH = ["--attach", "kaggle-dataset:ada/trained"]


@pytest.fixture
def finished(finished_ensemble, tmp_path, monkeypatch):
    finished_ensemble.copy_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    return finished_ensemble


@pytest.fixture
def blend(finished):
    (path,) = Path("runs").glob("*/blend.json")
    return path.parent


@pytest.fixture
def build(finished, podium_in, tmp_path):
    return lambda *more: podium_in(tmp_path, "kernel", "build", "--inference", finished.ensemble, *more)


def metadata():
    return json.loads(Path("kernel-metadata.json").read_text())


# Building


def test_script_has_the_blend_and_attaches_the_named_dataset(build, blend):
    ended = build(*ATTACH)
    assert (ended.code, ended.err) == (0, "")
    attached = metadata()
    assert attached["title"] == "podium-ensemble-inference"
    assert (attached["competition_sources"], attached["dataset_sources"]) == (["tiny-squares"], ["ada/trained"])
    assert (attached["model_sources"], attached["kernel_sources"], attached["enable_internet"]) == ([], [], False)
    job, configs = read_packed(Path("build/kernel.py"))
    assert (job.kind, job.blend, job.trained_at) == ("inference", blend.name, ("kaggle-dataset:ada/trained",))
    assert set(configs) == {f"configs/{name}.yaml" for name in ("competition", "ensemble", "first", "second")}
    code, found = Path("build/kernel.py").read_text().removesuffix("run()\n"), {}
    exec(compile(code, "kernel.py", "exec"), found)
    assert (
        json.loads(found["FILES"]["blend.json"])["digests"] == json.loads((blend / "blend.json").read_text())["digests"]
    )


def test_runs_that_are_only_here_have_to_be_uploaded(build, blend):
    ended = build()
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert f"{blend}: these runs are not in the output of a kernel: first-" in ended.err
    assert f"upload them with podium data push {blend}, and run the same command again" in ended.err


def test_dataset_that_was_pushed_for_the_blend_is_attached(build, blend):
    slug = f"podium-{blend.name.replace('_', '-')}"
    write_json(Path("runs/datasets/ada") / f"{slug}.json", {"digest": "1", "version": 2})
    assert build().code == 0
    assert metadata()["dataset_sources"] == [f"ada/{slug}"]


def test_kernels_that_trained_all_runs_are_attached(build):
    for name, kernel in (("first", "podium-one"), ("second", "podium-two")):
        folder = Path("runs/kernels/ada") / kernel / "v3"
        for run in Path("runs").glob(f"{name}-*"):
            shutil.copytree(run, folder / "output" / run)
        write_json(folder / "kernel.json", {"kernel": f"ada/{kernel}/3", "pushed_at": "2026-01-01T00:00:00Z"})
    assert build().code == 0
    assert metadata()["kernel_sources"] == ["ada/podium-one", "ada/podium-two"]
    (missing,) = Path("runs/kernels/ada/podium-two/v3/output").glob("runs/second-*/fold1/predictions-*")
    shutil.rmtree(missing)
    assert "these runs are not in the output of a kernel: second-" in build().err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--attach", "ada/trained"), 1, "--attach: expected kaggle-dataset:<owner>/<slug> or kaggle-kernel:"),
        (("--attach", "kaggle-dataset:ada/trained/file"), 1, "--attach: expected kaggle-dataset:<owner>/<slug>"),
        (
            (*ATTACH, "--set", "blend=weights"),
            1,
            "ensemble: no finished blend with this config in runs; runs/ensemble-",
        ),
        ((*ATTACH, "--fold", "0"), 2, "folds and limits do not apply to"),
    ],
)
def test_wrong_options_are_refused(options, code, message, build):
    ended = build(*options)
    assert ended.code == code
    assert message in ended.err


def test_attach_needs_inference(finished, podium_in, tmp_path):
    ended = podium_in(tmp_path, "kernel", "build", finished.ensemble, *ATTACH)
    assert ended.code == 2
    assert "--attach requires" in ended.err


def test_a_member_file_is_refused(finished, podium_in, tmp_path):
    ended = podium_in(tmp_path, "kernel", "build", "--inference", finished.members[0], *ATTACH)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "expected an ensemble file, got a member file" in ended.err


# The folder that is uploaded


def test_folder_to_upload_has_what_predicting_needs_and_nothing_else(blend):
    staged = stage_blend(blend)
    assert staged == Path("build/runs") / blend.name
    runs = [path for path in staged.iterdir() if path.is_dir()]
    assert sorted(path.name.split("-")[0] for path in runs) == ["first", "second"]
    names = {path.relative_to(run).parts[1] for run in runs for path in run.rglob("*") if path.is_file()}
    assert {name.split("-")[0] for name in names} == {"best.weights.h5", "config.yaml", "state.json", "predictions"}
    predictions = {path.name for path in staged.rglob("predictions-*/*")}
    assert predictions == {"oof.csv", "predictions.json"}


# Running


@pytest.fixture
def kernel(finished, blend, tmp_path, monkeypatch):
    """`kernel(layout, **places)` runs the job with these folders mounted; the working folder is the current one."""
    unpacked = tmp_path / "unpacked"
    shutil.copytree(finished.ensemble.parent, unpacked / "configs")
    competition = yaml.safe_load((unpacked / "configs" / "competition.yaml").read_text())
    del competition["classes"]  # those of the runs
    (unpacked / "configs" / "competition.yaml").write_text(yaml.safe_dump(competition))
    shutil.copy(blend / "blend.json", unpacked / BLEND)
    staged = stage_blend(blend).resolve()
    (tmp_path / "working").mkdir()
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(tmp_path / "input"))

    def run(places, trained_at="kaggle-dataset:ada/trained"):
        for place, folder in places.items():
            (tmp_path / "input" / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "input" / place).symlink_to(folder, target_is_directory=True)
        monkeypatch.chdir(tmp_path / "working")
        job = Job(kind="inference", config="ensemble.yaml", blend=blend.name, trained_at=(trained_at,))
        run_job(job.model_dump(mode="json"), ABOUT, unpacked)
        return pd.read_csv("submission.csv", dtype=str)

    run.staged = staged
    return run


@pytest.fixture
def other_test(finished, tmp_path):
    """The competition's data as a scoring run mounts it: other ids and images, and one that cannot be read."""
    folder = tmp_path / "hidden"
    (folder / "test_upload").mkdir(parents=True)
    ids = [f"h{number}.jpg" for number in range(5)]
    for name, path in zip(ids, sorted(finished.competition.folder.glob("train/*/*.jpg")), strict=False):
        shutil.copy(path, folder / "test_upload" / name)
    (folder / "test_upload" / "h4.jpg").write_bytes(b"no image")
    (folder / "sample-submission.csv").write_text("Id,Category\n" + "".join(f"{name},0\n" for name in ids))
    return folder


@pytest.mark.slow
def test_another_test_set_is_predicted(kernel, other_test, capsys):
    table = kernel({"tiny-squares": other_test, "trained": kernel.staged})
    assert list(table.columns) == ["Id", "Category"]
    assert table["Id"].tolist() == [f"h{number}.jpg" for number in range(5)]
    assert set(table["Category"]) <= {"0", "1", "2", "3"}
    out = capsys.readouterr().out
    assert "5 test images" in out
    assert "1 of them cannot be read" in out
    report = json.loads(Path("podium-report.json").read_text())
    assert report["status"] == "done"
    assert {"submission.csv", "sample-submission.csv", report["submission"]} <= set(report["files"])


def test_test_set_of_the_training_gives_the_blend_s_own_submission(kernel, finished):
    places = {"competitions/tiny-squares": finished.competition.folder, "notebooks/ada/one/runs": kernel.staged}
    table = kernel(places, "kaggle-kernel:ada/one")
    (submission,) = (finished.folder / "submissions").glob("*.csv")
    pd.testing.assert_frame_equal(table, pd.read_csv(submission, dtype=str))


def test_missing_and_other_runs_are_errors(kernel, other_test):
    places = {"competitions/tiny-squares": other_test, "datasets/ada/trained": kernel.staged.parent / "none"}
    with pytest.raises(DataError, match=r"first-\w+/fold0/predictions-\w+ of the blend ensemble-\w+ is in no attached"):
        kernel(places)


def test_cross_validation_of_the_blend_is_recorded_with_a_submission_of_the_kernel(blend, standin):
    from podium.config.kaggle_names import KernelRef
    from podium.workflows.submit import submit_kernel

    standin.add_competition("tiny-squares", {"sample-submission.csv": b"Id,Category\na,0\n"}, answers={"a": "0"})
    standin.add_kernel("ada/podium-ensemble-inference", {"submission.csv": b"Id,Category\na,0\n"})
    facts = {
        "kernel": "ada/podium-ensemble-inference/1",
        "job": {"blend": blend.name},
        "metadata": {"competition_sources": ["tiny-squares"]},
    }
    write_json(Path("runs/kernels/ada/podium-ensemble-inference/v1/kernel.json"), facts)
    row = submit_kernel(KernelRef.parse("ada/podium-ensemble-inference/1"), "submission.csv", "hidden", wait=False)
    assert row.cross_validation == pytest.approx(json.loads((blend / "blend.json").read_text())["score"])
