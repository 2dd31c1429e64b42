"""A task on a machine of a Ray cluster: train a member on one fold, or a detector, and predict.

Its runs are in a temporary folder of the machine. Every checkpoint is stored, so that another machine can resume it.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.cluster.ray_cluster import Report
from podium.cluster.storage import Storage
from podium.config.loading import Member
from podium.console import make_console
from podium.detection.detector_run import detector_run
from podium.detection.loading import Detector
from podium.errors import DataError, MachineError, RunError
from podium.options import RunOptions
from podium.runs import Run, versions
from podium.workflows.detect import train_detector
from podium.workflows.fold_runs import fold_runs
from podium.workflows.predict import predict_if_needed
from podium.workflows.prepare import prepare
from podium.workflows.train import train_if_needed

NOT_COMPARED = ("podium", "commit", "kaggle")
"""Of the versions of a run: podium's own source travels, and a task does not call Kaggle."""


@dataclass(frozen=True)
class Work:
    """A member on one fold, or a detector, as a task gets it."""

    model: Member | Detector
    run: str
    """Its run folder, relative to that of all runs."""
    inputs: tuple[str, ...]
    """Other folders and files among the runs that it reads."""
    options: Mapping[str, Any]
    """Of RunOptions."""
    storage: str
    versions: Mapping[str, str]
    predicts: bool = True
    folder: Path = field(default_factory=Path.cwd)
    """Paths of weights and presets are relative to it."""


def run_work(work: Work, report: Report) -> str:
    """Train, and predict unless it is a trial; returns the score."""
    check_versions(work.versions)
    with suppress(OSError):  # a machine without it needs it only for such paths
        os.chdir(work.folder)
    console = make_console()
    storage = Storage(work.storage)
    data = work.options["data"]
    if not data.is_dir():
        raise DataError(f"{machine()} has no folder {data}: the data has to be at the same place on each machine")
    with tempfile.TemporaryDirectory(prefix="podium-runs-", ignore_cleanup_errors=True) as temporary:
        runs = Path(temporary)
        for name in work.inputs:
            if not storage.pull(name, runs / name):
                raise MachineError(
                    f"{machine()} finds no {name} in {work.storage}: --storage has to be a folder or an address that"
                    " all machines reach"
                )
        folder = runs / work.run
        storage.pull(work.run, folder)
        options = RunOptions(
            **work.options,
            runs=runs,
            resume=Run(folder).is_resumable,
            command="the same command",
            on_save=lambda: store(storage, folder, work.run, console),
            on_epoch=lambda history: report(_progress(history), history),
        )
        run = _train(work, options, folder, console, report)
        storage.push(folder, work.run)
        best = run.best
        return f"{best['monitor']} {best['score']:.4f}"


def store(storage: Storage, folder: Path, name: str, console: Console) -> None:
    """A checkpoint that cannot be stored now is stored with the next one."""
    try:
        storage.push(folder, name)
    except MachineError as error:
        console.print(f"  {error}", highlight=False)


def _train(
    work: Work,
    options: RunOptions,
    folder: Path,
    console: Console,
    report: Report,
) -> Run:
    if isinstance(work.model, Detector):
        found = detector_run(work.model, options, console)
        _check_same(found.run, folder)
        return train_detector(work.model, options, console).run
    member = work.model
    (fold_run,) = fold_runs(member, prepare(member.competition, options, console, [member]), options)
    _check_same(fold_run.run, folder)
    train_if_needed(fold_run, console, resume=True)
    if work.predicts:
        if options.on_save:
            options.on_save()
        report("predicting", ())
        predict_if_needed(fold_run, console)
    return fold_run.run


def _check_same(run: Run, folder: Path) -> None:
    if run.path != folder:
        raise RunError(
            f"{machine()} would train another run, {run.path.parent.name} instead of {folder.parent.name}: its data or"
            " pretrained weights differ from those of the machine that started it"
        )


def _progress(history: Sequence[Mapping[str, Any]]) -> str:
    row = history[-1]
    values = [f"{name} {value:.4f}" for name, value in row.items() if name.startswith("val_") and name != "val_loss"]
    return f"{row['stage']} {row['epoch'] + 1}  {', '.join(values)}"


def compared_versions() -> dict[str, str]:
    found = {name: version for name, version in versions().items() if name not in NOT_COMPARED}
    return {**found, "python": found["python"].rpartition(".")[0]}


def check_versions(expected: Mapping[str, str]) -> None:
    found = compared_versions()
    other = [
        f"{name} {found[name]} instead of {version}" for name, version in expected.items() if found[name] != version
    ]
    if other:
        raise MachineError(f"{machine()} has {', '.join(other)}: install the same versions on each machine")


def machine() -> str:
    return os.uname().nodename
