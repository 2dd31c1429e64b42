"""The Python API, as a notebook uses it."""

import os
import signal
import subprocess
import sys
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import podium
from podium.runs import Run

QUIET = Console(quiet=True)
LIGHT = """
import sys
import podium
assert not {"numpy", "pandas", "rich", "pydantic", "yaml", "keras", "tensorflow"} & set(sys.modules)
assert set(podium.__all__) <= set(dir(podium))
"""


@pytest.fixture
def finished(finished_ensemble, tmp_path, monkeypatch):
    finished_ensemble.copy_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    return finished_ensemble


def test_import_loads_no_library():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", podium.__all__)
def test_every_name_is_documented_and_has_a_docstring(name, pytestconfig):
    assert getattr(podium, name).__doc__
    page = (pytestconfig.rootpath / "docs" / "api.md").read_text(encoding="utf-8")
    assert f"`podium.{name}" in page or f"podium.{name}(" in page


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'podium' has no attribute 'trane'"):
        podium.trane  # noqa: B018


def test_files_are_accepted_in_place_of_loaded_configs(finished):
    data = finished.competition.folder
    run = podium.train(str(finished.members[0]), data=data, console=QUIET)
    assert run.path == podium.train(podium.load_member(finished.members[0]), data=data, console=QUIET).path
    assert podium.build_model(finished.members[0]).count_params() == run.load_model().count_params()
    blend = podium.run(finished.ensemble, data=data, console=QUIET)
    assert blend.score == podium.run(podium.load_ensemble(finished.ensemble), data=data, console=QUIET).score


def test_a_file_that_does_not_exist_or_a_folder_in_place_of_a_run_is_one_line():
    for call in (podium.train, podium.run, podium.build_model):
        with pytest.raises(podium.PodiumError, match=r"^none\.yaml  no such file"):
            call("none.yaml")
    with pytest.raises(
        podium.PodiumError, match=r"^expected a run from podium\.train, got 'runs/a'; podium\.predict_im"
    ):
        podium.predict("runs/a")


def test_finished_steps_are_returned_and_lead_to_a_checked_submission(finished):
    data = finished.competition.folder
    predictions = []
    for path in finished.members:
        member = podium.load_member(path)
        for fold in (0, 1):
            run = podium.train(member, fold=fold, data=data, console=QUIET)
            predictions.append(podium.predict(run, console=QUIET))
    assert list(run.history["epoch"]) == [0, 1]
    assert run.score == run.history["val_accuracy"].max()
    assert repr(run) == f"<FoldRun second fold 1, val_accuracy {run.score:.4f}, {run.path}>"

    last = predictions[-1]
    columns = ["p_0", "p_1", "p_2", "p_3"]
    assert list(last.oof.columns) == ["label", "fold", *columns]
    assert last.score == (last.oof[columns].idxmax(axis=1).str[2:] == last.oof["label"]).mean()
    assert list(last.test.index) == list(finished.competition.answers)

    blend = podium.blend(predictions, "weights", name="mine")
    assert sum(blend.weights.values()) == pytest.approx(1)
    assert list(blend.scores.index) == ["first", "second", "blend"]
    assert blend.scores.loc["blend", "all rows"] == blend.score
    path = blend.write_submission()
    assert path.name.startswith("tiny-squares_mine__")
    assert blend.write_submission() == path
    assert podium.check_submission(path, member.competition, data=data) == []
    answers = pd.read_csv(path, dtype=str).set_index("Id")["Category"]
    assert (answers == blend.test.idxmax(axis=1).str[2:]).all()


def test_run_returns_the_blend_of_an_ensemble(finished):
    ensemble = podium.load_ensemble(finished.ensemble)
    blend = podium.run(ensemble, data=finished.competition.folder, console=QUIET)
    assert blend.submission.name in finished.out
    members = [podium.load_member(path) for path in finished.members]
    ranks = podium.make_ensemble("ranks", {"blend": "rank_mean"}, members)
    blend = podium.run(ranks, data=finished.competition.folder, console=QUIET)
    assert blend.facts["blend"]["method"] == "rank_mean"
    assert blend.submission is None


def test_runs_are_compared_by_what_train_and_blend_return(finished):
    data = finished.competition.folder
    first, second = (podium.load_member(path) for path in finished.members)
    runs = [podium.train(member, data=data, console=QUIET) for member in (first, second)]
    blend = podium.blend([podium.predict(run, console=QUIET) for run in runs])
    comparison = podium.compare([*runs, blend])
    assert [run.kind for run in comparison.runs] == ["member", "member", "blend"]
    assert len(comparison.verdicts) == 2


def test_problems_of_a_submission_are_returned(finished):
    competition = podium.load_competition(finished.competition.config)
    data = finished.competition.folder
    sample = data / "sample-submission.csv"
    broken = finished.folder / "broken.csv"
    broken.write_text(sample.read_text().replace("Category", "Kategory"))
    assert podium.check_submission(broken, competition, sample=sample)
    assert podium.check_submission(broken, competition, data=data)


def squares_in_python(data):
    """The tiny competition and a member for it, without a YAML file."""
    competition = podium.Competition(
        slug="tiny-squares",
        train={"table": "train.csv", "images": "train/{label}/{id}"},
        test={"images": "test_upload/{id}"},
        classes=["0", "1", "2", "3"],
        metric="accuracy",
        folds={"kind": "stratified", "count": 2},
    )
    stage = {"name": "all", "unfreeze": "all", "epochs": 3, "batch_size": 8, "image_size": 32, "learning_rate": 0.005}
    backbone = {"name": "SmallResNet", "weights": "none", "alpha": 0.25, "freeze_batchnorm": False}
    return podium.make_member("mine", {"backbone": backbone, "stages": [stage]}, competition)


class InterruptingLog(StringIO):
    """Interrupts this process, as Ctrl-C does, when a text is printed for the first time."""

    def __init__(self, text):
        super().__init__()
        self.text = text

    def write(self, text):
        if self.text and self.text in text:
            self.text = None
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


def test_a_config_in_python_trains_stops_at_an_interrupt_and_resumes(tiny_competition, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    member = squares_in_python(tiny_competition.folder)
    log, handler = InterruptingLog("all 1/3"), signal.getsignal(signal.SIGINT)
    with pytest.raises(
        podium.StoppedError, match=r"SIGINT: stopped at .*; saved in runs/mine-\w+/fold0; .* podium.train"
    ):
        podium.train(member, data=tiny_competition.folder, console=Console(file=log, width=200))
    assert signal.getsignal(signal.SIGINT) is handler
    (folder,) = (tmp_path / "runs").glob("mine-*/fold0")
    assert Run(folder).is_resumable
    resumed = StringIO()
    run = podium.train(member, data=tiny_competition.folder, console=Console(file=resumed, width=200))
    assert "all 1/3" not in resumed.getvalue()
    assert list(run.history["epoch"]) == [0, 1, 2]
    assert run.path.resolve() == folder.resolve()

    model = run.load_model()
    images = np.zeros((2, 32, 32, 3), np.uint8)
    assert model.predict(images, verbose=0).shape == (2, 4)
    assert podium.build_model(member, pretrained=False).output_shape == (None, 4)


def test_all_problems_of_a_config_are_one_error_that_a_notebook_shows_without_a_traceback():
    with pytest.raises(podium.PodiumError) as raised:
        podium.Competition(
            slug="Squares", train={"images": "{id}"}, test={"images": "{id}"}, classes=["a"], metric="acc"
        )
    (shown,) = raised.value._render_traceback_()
    assert shown == f"ConfigError: {raised.value}"
    assert all(key in shown for key in ("slug", "classes", "metric", "train.images"))


def test_an_override_with_an_unknown_key_names_the_nearest(tiny_competition):
    with pytest.raises(podium.PodiumError, match="did you mean 'dropout'"):
        podium.load_member(tiny_competition.member(), {"head.droput": 0.4})


def test_wrong_arguments_are_errors(finished):
    member = podium.load_member(finished.members[0])
    with pytest.raises(podium.PodiumError, match="time_limit: expected a time such as 8h30m"):
        podium.train(member, data=finished.competition.folder, time_limit="soon", console=QUIET)
    with pytest.raises(podium.PodiumError, match="there is no fold 7"):
        podium.train(member, fold=7, data=finished.competition.folder, console=QUIET)


NOTEBOOK_CELL = """
import podium
member = podium.load_member({member!r}, {{"stages.0.epochs": 10_000}})
run = podium.train(member, data={data!r})
"""


@pytest.mark.slow
def test_interrupting_a_notebook_cell_saves_a_checkpoint_and_leaves_the_kernel_alive(tiny_competition, tmp_path):
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(cwd=str(tmp_path))
    try:
        outputs = []

        def hook(message):
            outputs.append(message)
            text = message["content"].get("text", "")
            if message["msg_type"] == "stream" and "all 2/10000" in text:
                manager.interrupt_kernel()

        cell = NOTEBOOK_CELL.format(member=str(tiny_competition.member()), data=str(tiny_competition.folder))
        reply = client.execute_interactive(cell, timeout=300, output_hook=hook)["content"]
        assert (reply["status"], reply["ename"]) == ("error", "StoppedError"), reply
        (shown,) = next(one["content"]["traceback"] for one in outputs if one["msg_type"] == "error")
        assert "saved in runs/tiny-" in shown
        assert any(one["msg_type"] == "update_display_data" for one in outputs)  # the progress bar
        assert client.execute_interactive("assert podium.predict", timeout=60)["content"]["status"] == "ok"
        (folder,) = (tmp_path / "runs").glob("tiny-*/fold0")
        assert Run(folder).is_resumable
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
