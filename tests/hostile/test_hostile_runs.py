"""Run folders and checkpoints from another machine that are broken or hostile."""

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command_line import run_podium
from mutations import LONG, SHORT, Reader, try_variants
from rich.console import Console

from podium.changes import read_changes
from podium.cli.queues import queue_table
from podium.cluster.storage import Storage
from podium.config.resolved import resolved_member
from podium.config.stage import Stage
from podium.config.yaml_file import flow_text
from podium.data.quality import MEASUREMENT
from podium.evaluation.comparison import read_seconds, read_versions
from podium.files import digest_of_file
from podium.inference.neighbours import LabelledFeatures
from podium.inference.trained import TrainedFold
from podium.models.presets import Recipe
from podium.options import RunOptions
from podium.runs import Run
from podium.training.checkpoints import CheckpointStore, Progress
from podium.training.resume import read_config
from podium.workflows.cluster import ClusterJob, ClusterQueue, read_queue
from podium.workflows.cluster_check import FILE, fetch_measurements
from podium.workflows.export import _config_of, _flat, _history
from podium.workflows.report import _headline, _histories, _members, _scores, _stages, _training, _views
from podium.workflows.search import values_of
from podium.workflows.study import ask, best_first, importances, open_study
from podium.workflows.subject import find_subject

CHANGES = "stage,epoch,step,key,before,after,by,at,request\n0,1,0,learning_rate,0.1,0.01,set,2026-01-01T00:00:00Z,1\n"
RECIPE = {
    "backbone": {"module": "keras_hub.models", "class_name": "ResNetBackbone", "config": {"patch_size": 16}},
    "scale": [0.1, 0.1, 0.1], "offset": None, "pyramid": {},
}  # fmt: skip
STAGE = Stage.model_validate(
    {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 8, "image_size": 32, "learning_rate": 0.005}
)


class Place(NamedTuple):
    """A copy of the finished ensemble: its folder, the first fold of its first member, and its blend."""

    folder: Path
    member: Path
    other: Path

    @property
    def run(self):
        return Run(self.member / "fold0")

    @property
    def predictions(self):
        return next(self.run.path.glob("predictions-*"))

    @property
    def blend(self):
        return next(self.folder.glob("runs/ensemble-*/blend.json")).parent


@pytest.fixture
def copy(finished_ensemble, tmp_path):
    return copy_of(finished_ensemble.folder, tmp_path)


def copy_of(ensemble, folder):
    for name in ("runs", "submissions"):
        shutil.copytree(ensemble / name, folder / name)
    return Place(folder, *(next((folder / "runs").glob(f"{name}-*")) for name in ("first", "second")))


def _podium(place, *arguments):
    """The command succeeds, or fails with a message."""
    result = run_podium(place.folder, *arguments)
    assert result.code in (0, 1)
    assert result.code == 0 or result.err.startswith("podium: ")


def _listed(name):
    def prepare(place):
        def read():
            _podium(place, "runs")
            _podium(place, "runs", "--json")
            read_versions(place.run)
            read_seconds([place.run])

        return place.run.path / name, read

    return prepare


def _resumes(place):
    place.run.record_resume("all", 1, 0)
    return place.run.resumes, place.run.read_history


def _report(path_of):
    def prepare(place):
        def read():
            subject = find_subject(place.member, RunOptions(runs=place.folder / "runs"))
            list(_histories(subject))
            list(_history(place.run))
            for section in (_training, _stages, _scores, _views):
                section(subject)

        return path_of(place), read

    return prepare


def _config(place):
    def read():
        resolved_member(place.run)
        read_config(place.run)
        list(_flat(_config_of(place.run)))
        TrainedFold.read(place.run, None, place.predictions)
        find_subject(place.member, RunOptions(runs=place.folder / "runs"))
        _podium(place, "compare", place.member, place.other)

    return place.run.config, read


def _facts(place):
    def read():
        TrainedFold.read(place.run, None, place.predictions)
        _podium(place, "compare", place.member, place.other)
        find_subject(place.blend, RunOptions(runs=place.folder / "runs"))

    return place.predictions / "predictions.json", read


def _blend(place):
    def read():
        subject = find_subject(place.blend, RunOptions(runs=place.folder / "runs"))
        _headline(subject)
        _members(subject)
        _podium(place, "compare", place.blend, place.member)
        _podium(place, "runs")

    return place.blend / "blend.json", read


def _table(name, command):
    def prepare(place):
        return place.predictions / name, lambda: _podium(place, command, place.member)

    return prepare


def _changes(place):
    path = place.run.path / "changes.csv"
    path.write_text(CHANGES)
    return path, lambda: read_changes(place.run.path)


def _recipe(place):
    path = place.run.recipe
    path.write_text(json.dumps(RECIPE))

    def read():
        recipe = Recipe.load(path)
        recipe.check_image_sizes("x", [32])
        _ = recipe.antialias

    return path, read


def _checkpoint_arrays(place):
    """The name of the file follows its content, as that of a stranger would."""
    folder = place.folder / "one" / "fold0"
    written = CheckpointStore(folder).write(
        Progress(seed=1, stage_name="all", epoch=1), {"model/00000": np.ones((3, 4))}
    )
    path = place.folder / "content.npz"
    shutil.move(written, path)
    return path, lambda: _load(folder, path)


def _checkpoint_progress(place):
    folder, path = place.folder / "one" / "fold0", place.folder / "progress.json"
    weights = folder / "best.weights.h5"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    (folder / "a.csv").write_text("class,f1\n")
    best = {"stage": "all", "epoch": 1, "monitor": "val_accuracy", "score": 0.5, "image_size": 32, "reports": ["a.csv"],
            "file": weights.name, "digest": digest_of_file(weights)}  # fmt: skip
    change = {"stage": 0, "epoch": 1, "step": 0, "key": "learning_rate", "before": 0.1, "after": 0.01,
              "by": "set", "at": "", "request": ""}  # fmt: skip
    counters = {"early_stopping": {"wait": 1, "best": 0.5}}
    content = {"seed": 1, "stage_name": "all", "epoch": 1, "best": best, "changes": [change], "counters": counters,
               "history": [{"epoch": 0, "loss": 0.5}], "seconds": {"all": 1.5}}  # fmt: skip
    path.write_text(json.dumps(content))

    def read():
        arrays = place.folder / "content.npz"
        np.savez(arrays, progress=np.frombuffer(path.read_bytes(), np.uint8))
        _load(folder, arrays)

    return path, read


def _load(folder, arrays):
    checkpoints = folder / "checkpoints"
    shutil.rmtree(checkpoints, ignore_errors=True)
    checkpoints.mkdir(parents=True)
    shutil.copyfile(arrays, checkpoints / f"checkpoint-000001-{digest_of_file(arrays)}.npz")
    store = CheckpointStore(folder)
    checkpoint = store.load_newest(Console(file=StringIO()))
    progress = checkpoint.progress
    _ = (
        progress.describe(STAGE),
        progress.has_finished(STAGE),
        progress.learning_rate(STAGE),
        checkpoint.part("model"),
    )
    store.copy_to(folder.parent / "copy", checkpoint)
    if progress.best:
        store.copy_best_to_run(progress.best)


def _cluster_queue(copy):
    jobs = [ClusterJob(run=f"one-12345678/fold{fold}", label=f"one fold {fold}", state="done") for fold in (0, 1)]
    queue = ClusterQueue(copy.folder / "runs" / "clusters" / "one-1", Path("one.yaml"), jobs, "ray", "s3://bucket")
    queue.save()
    return queue.folder / "queue.json", lambda: queue_table(read_queue(queue.folder))


def _neighbours(place):
    path = place.run.neighbours(32)
    features = LabelledFeatures(np.ones((6, 5), np.float32), np.eye(6, dtype=np.float32), np.ones(6, np.float32))
    features.save(path, "a" * 16)
    return path, lambda: LabelledFeatures.load(path, "a" * 16, 5, 6)


def _measurements(place):
    storage, made, name = Storage(str(place.folder / "storage")), place.folder / "made", "check-12345678"
    made.mkdir()
    np.save(made / FILE, np.zeros(3, MEASUREMENT))

    def read():
        storage.push(made, name)
        fetch_measurements(storage, name, 3, place.folder / "fetched")

    return made / FILE, read


def _study(place):
    folder = place.folder / "search"
    study = open_study(folder, "maximize", 1, 0)
    for number in range(5):
        trial = ask(study, folder, 1)
        trial.set_user_attr("values", {"x": flow_text(trial.suggest_float("x", 0, 1))})
        study.tell(trial, number / 5)

    def read():
        study = open_study(folder, "maximize", 1, 0)
        [values_of(trial) for trial in best_first(study)]
        importances(study)

    return folder / "study.db", read


READERS = [
    Reader("neighbours", "bytes", _neighbours),
    Reader("measurements of a cluster", "bytes", _measurements),
    Reader("study.db", "bytes", _study),
    Reader("resumes.csv", "csv", _resumes),
    Reader("views.csv", "csv", _report(lambda place: place.predictions / "views.csv")),
    Reader("queue of a cluster", "json", _cluster_queue),
    Reader("state.json", "json", _listed("state.json")),
    Reader("timings.json", "json", _listed("timings.json")),
    Reader("versions.json", "json", _listed("versions.json")),
    Reader("config.yaml", "yaml", _config),
    Reader("history.csv", "csv", _report(lambda place: place.run.history)),
    Reader("timings.json in a report", "json", _report(lambda place: place.run.path / "timings.json")),
    Reader("predictions.json in a report", "json", _report(lambda place: place.predictions / "predictions.json")),
    Reader("predictions.json", "json", _facts),
    Reader("oof.csv", "csv", _table("oof.csv", "mistakes")),
    Reader("blend.json", "json", _blend),
    Reader("changes.csv", "csv", _changes),
    Reader("backbone.json", "json", _recipe),
    Reader("checkpoint", "bytes", _checkpoint_arrays),
    Reader("progress", "json", _checkpoint_progress),
]


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_broken_run_folders_are_errors(reader, copy):
    try_variants(reader, copy, SHORT)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,t_x,fold,p_0,p_1,p_2,p_3", "the truth has the columns t_x instead of label"),
        ("id,label,fold,p_0,p_1,p_2,p_x", "predictions of 0, 1, 2, x instead of 0, 1, 2, 3"),
        ("id,p_0,p_1,p_2,p_3", "have no truth"),
    ],
)
def test_predictions_of_another_competition_are_errors(header, message, copy):
    for place in (copy.member, copy.other):
        for path in place.glob("fold*/predictions-*/oof.csv"):
            path.write_text(f"{header}\nof {path.parts[-3]}" + ",0" * header.count(",") + "\n")
    for command in (["mistakes", copy.member], ["report", copy.member], ["compare", copy.member, copy.other]):
        result = run_podium(copy.folder, *command)
        assert (result.code, message in result.err) == (1, True), (command, result.err)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("standard_error", "x"), ("metric", 1), ("blend.weights", [0.5, 0.5]), ("blend.weights", {"first": "x"}),
        ("blend.weight_errors", [1]), ("blend.weight_errors", {"first": -1}), ("blend.adds_nothing", {"a": 1}),
        ("blend.adds_nothing", [1]), ("blend", {}),
    ],
)  # fmt: skip
def test_facts_of_a_blend_have_their_types(key, value, copy):
    path = copy.blend / "blend.json"
    facts = content = json.loads(path.read_text())
    *parents, last = key.split(".")
    for parent in parents:
        content = content[parent]
    content[last] = value
    path.write_text(json.dumps(facts))
    result = run_podium(copy.folder, "report", copy.blend)
    assert (result.code, "blend.json is damaged" in result.err) == (1, True), result.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("view,gain\na,1\nb,1\n", "it has no column standard_error"),
        ("view,gain,standard_error\na,0,0\nb,good,1\n", "the column gain has text"),
        ("", ""),
    ],
)
def test_views_of_another_form_are_an_error(content, message, copy):
    (copy.predictions / "views.csv").write_text(content)
    result = run_podium(copy.folder, "report", copy.member)
    assert (result.code, "views.csv cannot be read" in result.err) == ((1, True) if message else (0, False)), result.err
    assert message in result.err


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=str)
def test_many_broken_run_folders_are_errors(reader, copy):
    try_variants(reader, copy, LONG)
