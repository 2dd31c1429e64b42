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
from podium.config.resolved import resolved_member
from podium.config.stage import Stage
from podium.evaluation.comparison import read_seconds, read_versions
from podium.files import digest_of_file
from podium.inference.trained import TrainedFold
from podium.models.presets import Recipe
from podium.options import RunOptions
from podium.runs import Run
from podium.training.checkpoints import CheckpointStore, Progress
from podium.training.resume import read_config
from podium.workflows.cluster import ClusterJob, ClusterQueue, read_queue
from podium.workflows.report import _histories, _scores, _stages
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


def _report(path_of):
    def prepare(place):
        def read():
            subject = find_subject(place.member, RunOptions(runs=place.folder / "runs"))
            list(_histories(subject))
            _stages(subject)
            _scores(subject)

        return path_of(place), read

    return prepare


def _config(place):
    def read():
        resolved_member(place.run)
        read_config(place.run)
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
        _ = subject.metric
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


READERS = [
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


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=str)
def test_many_broken_run_folders_are_errors(reader, copy):
    try_variants(reader, copy, LONG)
