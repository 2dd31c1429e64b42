"""Checkpoints: everything that changes while a model trains, captured, written, read and restored.

    checkpoints/
      checkpoint-000012-<digest>.npz        the progress as JSON, and the arrays
      best-<stage>-<epoch>-<digest>/        the best weights so far, with the reports of their validation

A checkpoint's name contains the digest of its bytes, so a truncated or altered file is detected before it is used. The
newest two checkpoints are kept, each with the best weights it refers to.
"""

import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from rich.console import Console

from podium.arrays import read_npz
from podium.changes import LEARNING_RATE, Change, Position
from podium.config.stage import Stage
from podium.errors import RunError
from podium.files import atomic_write, digest_of_file, fsync_folder, report_full_disk
from podium.models import devices
from podium.models.backbone import use_assigned_statistics
from podium.runs import BEST_TYPES, BEST_WEIGHTS, CHECKPOINT_NAME, Run, has_types
from podium.training.task import StageSetup

Arrays = Mapping[str, NDArray[Any]]
"""Named `part/number`; the parts are `model`, `optimizer`, `metrics`, `devices` and LOSSES."""
LOSSES = "losses"
_PROGRESS = "progress"


@dataclass
class Progress:
    """The progress of a training: everything in a checkpoint except the arrays.

    At the end of a stage `epoch` is the stage's number of epochs; the next stage begins with its first step.
    """

    seed: int
    precision: str = "float32"
    """What `auto` meant when the training started; also used when it is resumed or predicts elsewhere."""
    stage: int = 0
    """The stage's number, from 0."""
    stage_name: str = ""
    epoch: int = 0
    """Finished epochs of the stage."""
    step: int = 0
    """Finished steps of the current epoch."""
    rows: int = 0
    """Rows of the current epoch that were trained on."""
    best: dict[str, Any] | None = None
    """The epoch with the best weights, and the file they are in."""
    counters: dict[str, dict[str, int | float | None]] = field(default_factory=dict)
    """`best`, `wait` and `cooldown_counter` of the stage's Keras callbacks."""
    history: list[dict[str, Any]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    """Changes made so far, and later ones from changes.csv."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent on each stage, including earlier processes."""
    seconds_waited: dict[str, float] = field(default_factory=dict)
    """The part of it that the model waited for batches; unknown for several devices."""
    seconds_per_image: float = 0.0
    """Measured when the validation rows were last predicted."""
    first_step_seconds: float = 0.0
    """The longest first step of a stage, which includes tracing the graph."""
    is_complete: bool = False
    """All stages are finished; arrays that a further stage would not need are deleted."""

    @property
    def position(self) -> Position:
        return (self.stage, self.epoch, self.step)

    def start_stage(self, number: int, stage: Stage) -> None:
        self.stage, self.stage_name = number, stage.name
        self.epoch = self.step = self.rows = 0
        self.counters, self.is_complete = {}, False

    def has_finished(self, stage: Stage) -> bool:
        """Whether the current stage, whose epochs and patience may have changed, is finished."""
        if self.is_complete or self.epoch >= stage.epochs:
            return True
        waited = self.counters.get("early_stopping", {}).get("wait") or 0
        # Keras never stops after the first epoch.
        return stage.early_stopping is not None and self.epoch > 1 and waited >= stage.early_stopping

    def learning_rate(self, stage: Stage) -> float:
        """The learning rate of the stage, or the one it was last changed to."""
        rates = [
            change.after
            for change in self.changes
            if change.stage == self.stage and change.key == LEARNING_RATE and change.position <= self.position
        ]
        return float(rates[-1]) if rates else stage.learning_rate

    def describe(self, stage: Stage) -> str:
        """The position with numbers from 1: `stage all, epoch 3 of 10, after step 120`."""
        if self.epoch >= stage.epochs:
            return f"the end of stage {stage.name}"
        after = f", after step {self.step}" if self.step else ""
        return f"stage {stage.name}, epoch {self.epoch + 1} of {stage.epochs}{after}"


_PROGRESS_TYPE = TypeAdapter(Progress)


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    progress: Progress
    arrays: Arrays

    def part(self, name: str) -> dict[int, NDArray[Any]]:
        """The arrays of one part by their number."""
        return {int(key.split("/")[1]): array for key, array in self.arrays.items() if key.startswith(f"{name}/")}


# Capture and restore


def capture(setup: StageSetup) -> Arrays:
    """All variables of the full model (including random seeds), the optimizer and the running metrics.

    On several devices each counts its own part of the metrics: `devices` has those parts. When the training is resumed
    on another number of devices, the sums are enough.
    """
    model = setup.model
    parts = {
        "model": setup.full_model.variables,
        "optimizer": model.optimizer.variables,
        "metrics": model.metrics_variables,
    }
    arrays = {
        f"{part}/{number:05d}": keras.ops.convert_to_numpy(variable)
        for part, variables in parts.items()
        for number, variable in enumerate(variables)
    }
    if devices.is_distributed(model):
        metrics = enumerate(model.metrics_variables)
        arrays |= {f"devices/{number:05d}": devices.device_values(model, variable) for number, variable in metrics}
    return arrays


def capture_random_state(model: Any) -> Arrays:
    """Everything that a further stage needs besides the best weights."""
    weights = {id(weight) for weight in model.weights}
    return {
        f"model/{number:05d}": keras.ops.convert_to_numpy(variable)
        for number, variable in enumerate(model.variables)
        if id(variable) not in weights
    }


def captured_size(setup: StageSetup) -> int:
    """The approximate size of a checkpoint in bytes."""
    variables = (*setup.full_model.variables, *setup.model.optimizer.variables)
    return sum(4 * math.prod(variable.shape) for variable in variables)


def are_finite(arrays: Iterable[NDArray[Any]]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays if array.dtype.kind == "f")


def restore_model(model: Any, checkpoint: Checkpoint) -> None:
    _assign(model.variables, checkpoint.part("model"), checkpoint)
    use_assigned_statistics(model)


def restore_optimizer(model: Any, checkpoint: Checkpoint) -> None:
    with devices.model_scope(model):
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
    _assign(model.optimizer.variables, checkpoint.part("optimizer"), checkpoint)


def restore_metrics(model: Any, checkpoint: Checkpoint) -> None:
    variables = model.metrics_variables
    _assign(variables, checkpoint.part("metrics"), checkpoint)
    for number, values in checkpoint.part("devices").items():
        if devices.is_distributed(model) and len(values) == model.distribute_strategy.num_replicas_in_sync:
            devices.assign_device_values(model, variables[number], values)


def _assign(variables: list[Any], arrays: dict[int, NDArray[Any]], checkpoint: Checkpoint) -> None:
    shapes = {number: tuple(variable.shape) for number, variable in enumerate(variables)}
    unexpected = [number for number, array in arrays.items() if shapes.get(number) != array.shape]
    if unexpected:
        raise RunError(
            f"the checkpoint {checkpoint.path} belongs to another model ({len(unexpected)} of its {len(arrays)} arrays"
            " do not fit this config's); resume with the library versions in versions.json, or move the run folder"
            " away to start from scratch"
        )
    for number, array in arrays.items():
        variables[number].assign(array)


# Files


class UnusableCheckpointError(Exception):
    """Why a checkpoint cannot be used."""


class CheckpointStore:
    """The checkpoints and best weights in a run folder."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self.folder = run / "checkpoints"
        self._previous: tuple[Path, str] | None = None
        """The last valid checkpoint, and the folder of its best weights: kept when the next one is written."""

    def paths(self) -> list[Path]:
        """All checkpoints, newest first, valid or not."""
        return Run(self._run).checkpoints

    def load_newest(self, console: Console) -> Checkpoint | None:
        """The newest valid checkpoint. Unusable ones are reported, and kept until the next one is written."""
        problems = []
        for path in self.paths():
            try:
                checkpoint = self._load(path)
            except UnusableCheckpointError as error:
                problems.append(f"{path.name} {error}")
                continue
            for problem in problems:
                console.print(f"  checkpoint {problem}: resuming from the one before", highlight=False)
            self._previous = path, _best_folder(checkpoint.progress)
            return checkpoint
        if problems:
            raise RunError(
                f"no checkpoint in {self.folder} can be used: {'; '.join(problems)}. Nothing was changed; to start from"
                f" scratch, move {self._run} away"
            )
        return None

    def _load(self, path: Path) -> Checkpoint:
        name = CHECKPOINT_NAME.fullmatch(path.name)
        assert name
        try:
            if digest_of_file(path) != name[2]:
                raise UnusableCheckpointError("is damaged (its checksum does not match)")
            arrays = read_npz(path)
            progress = _PROGRESS_TYPE.validate_json(arrays.pop(_PROGRESS).tobytes())
            _check_best(progress.best)
        except OSError as error:
            raise UnusableCheckpointError(f"cannot be read ({error.strerror or error})") from None
        except (ValueError, LookupError, TypeError) as error:
            raise UnusableCheckpointError(f"was written by another version of podium ({error})") from None
        self._check_best_weights(progress)
        return Checkpoint(path, progress, arrays)

    def _check_best_weights(self, progress: Progress) -> None:
        if progress.best is None:
            return
        weights = self._run / progress.best["file"]
        if not weights.is_file():
            raise UnusableCheckpointError(f"lacks its best weights ({progress.best['file']} is missing)")
        if digest_of_file(weights) != progress.best["digest"]:
            raise UnusableCheckpointError(f"lacks its best weights ({progress.best['file']} is damaged)")

    def write(self, progress: Progress, arrays: Arrays) -> Path:
        """Write a checkpoint, then delete all files that neither it nor the previous one needs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        earlier = self.paths()
        number = int(earlier[0].name.split("-")[1]) + 1 if earlier else 1
        content = np.frombuffer(json.dumps(asdict(progress)).encode(), dtype=np.uint8)
        size = sum(array.nbytes + 300 for array in (*arrays.values(), content))
        temporary = self.folder / f".writing-checkpoint-{number:06d}.npz"
        try:
            with report_full_disk(self.folder, size, "a checkpoint"):
                _write_npz(temporary, {_PROGRESS: content, **arrays})
                path = self.folder / f"checkpoint-{number:06d}-{digest_of_file(temporary)}.npz"
                temporary.rename(path)
                fsync_folder(self.folder)
        finally:
            temporary.unlink(missing_ok=True)
        newest = path, _best_folder(progress)
        self._keep_only(*newest, *(self._previous or ()))
        self._previous = newest
        return path

    def _keep_only(self, *needed: Path | str) -> None:
        names = {path.name if isinstance(path, Path) else path for path in needed}
        for path in self.folder.iterdir():
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def keep_only_newest(self) -> None:
        """At the end of a training, when the best weights are in the run folder."""
        self._keep_only(self.paths()[0])

    def save_best(self, weights: Path, stage: int, epoch: int, write_reports: Callable[[Path], None]) -> dict[str, Any]:
        """Move new best weights and their reports to a new folder; returns its description."""
        draft = self.folder / ".writing-best"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        with weights.open("rb") as file:
            os.fsync(file.fileno())
        digest = digest_of_file(weights)
        weights.rename(draft / BEST_WEIGHTS)
        write_reports(draft)
        reports = sorted(path.name for path in draft.iterdir() if path.name != BEST_WEIGHTS)
        folder = self.folder / f"best-{stage}-{epoch}-{digest}"
        shutil.rmtree(folder, ignore_errors=True)  # the same weights, saved before an interruption
        draft.rename(folder)
        fsync_folder(self.folder)
        return {"file": str((folder / BEST_WEIGHTS).relative_to(self._run)), "digest": digest, "reports": reports}

    def copy_best_to_run(self, best: dict[str, Any]) -> dict[str, Any]:
        """Copy the best weights and their reports to the top of the run folder."""
        folder = (self._run / best["file"]).parent
        if folder != self._run:
            for name in (*_reports_in(folder, best), BEST_WEIGHTS):
                _copy(folder / name, self._run / name, "the best weights")
        return {**best, "file": BEST_WEIGHTS}

    def copy_to(self, run: Path, checkpoint: Checkpoint) -> None:
        """Copy a checkpoint, its best weights and their reports into another run folder."""
        files = [checkpoint.path]
        if best := checkpoint.progress.best:
            weights = self._run / best["file"]
            files += [*(weights.with_name(name) for name in _reports_in(weights.parent, best)), weights]
        for path in files:
            _copy(path, run / path.relative_to(self._run), "a copy of the checkpoint")

    def delete_temporary_files(self) -> None:
        """Delete the unfinished files of a killed process."""
        for folder in (self._run, self.folder):
            for path in folder.glob(".writing-*"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _reports_in(folder: Path, best: Mapping[str, Any]) -> list[str]:
    """The reports of the best weights, without those that a user deleted."""
    return [name for name in best["reports"] if (folder / name).is_file()]


def _best_folder(progress: Progress) -> str:
    return Path(progress.best["file"]).parent.name if progress.best else ""


def _check_best(best: dict[str, Any] | None) -> None:
    """Its files are copied into the run folder, so their names must not lead out of it."""
    if best is None:
        return
    file, names = PurePath(best["file"]), [best["digest"], *best["reports"]]
    is_inside = not file.is_absolute() and ".." not in file.parts and all(PurePath(name).name == name for name in names)
    if not is_inside or not has_types(best, BEST_TYPES):
        raise ValueError("its best weights are not described as expected")


def _copy(source: Path, target: Path, what: str) -> None:
    with report_full_disk(target.parent, source.stat().st_size, what), atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)


def _write_npz(path: Path, arrays: Arrays) -> None:
    """Like `numpy.savez`, which leaves its zip file open when a write fails."""
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.save(entry, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
