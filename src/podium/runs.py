"""A run folder: one member trained on one fold, or one detector.

    runs/<member>-<digest>/fold<k>/
      config.yaml                 the resolved config
      folds.csv                   every row's fold when the run started
      state.json                  the progress, and the best epoch
      history.csv                 a row for each epoch of every stage
      changes.csv resumes.csv     changes made during training, and where it was resumed, if any
      checkpoints/                from which a stopped training resumes
      best.weights.h5             the best weights, once all stages are finished
      backbone.json               how the backbone of a KerasHub preset is built without the preset
      timings.json versions.json  seconds of each part; versions of podium, its libraries and the git commit
      classification_report.csv confusion_matrix.csv     of the validation rows, without test-time views
      neighbours-<size>.npz       the features of the training images, for a member with `neighbours`
      predictions-<digest>/       predictions for one choice of test-time views: oof.csv, test.csv, views.csv, …

The digest covers everything that affects the weights, so a changed config gets its own folder.
"""

import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from podium.changes import timestamp
from podium.errors import RunError
from podium.files import digest_of_file, read_json, read_records, write_json, write_text

if TYPE_CHECKING:
    import pandas as pd

BEST_WEIGHTS = "best.weights.h5"
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d{6})-([0-9a-f]{16})\.npz")
"""Its number, and the digest of its bytes."""
BLEND_FOLDER = re.compile(r"[^/\\\0]+-[0-9a-f]{8}")
"""The name of an ensemble and a digest. The runs of a member or a detector are in such a folder, too."""
RUN_FOLDER = re.compile(rf"{BLEND_FOLDER.pattern}/fold[0-9]+")
_GENERATED_FOLDS = ".generated.json"
_NUMBER = int | float
_ABSENT = object()
_STATE_TYPES = {
    "status": str, "stage": str, "epoch": int, "epochs": int, "step": int, "steps": int, "best": dict | None,
    "changes": int, "seconds": _NUMBER, "seconds_per_image": _NUMBER, "command": str, "dry_run": bool, "limit": int,
}  # fmt: skip
BEST_TYPES = {"stage": str, "epoch": int, "monitor": str, "score": _NUMBER, "image_size": int}
CONFIG_TYPES = {
    "name": str, "member": dict, "competition": dict, "fold": int, "inputs": dict | None, "limit": int | None,
    "dry_run": bool | None, "prior": list,
}  # fmt: skip
"""Of the values in config.yaml."""
_PREDICTIONS_TYPES = {
    "settings": dict, "metric": str, "score": _NUMBER, "score_of_first_view": _NUMBER, "views": list,
    "image_size": int | None,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    path: Path

    @property
    def best_weights(self) -> Path:
        return self.path / BEST_WEIGHTS

    @property
    def recipe(self) -> Path:
        return self.path / "backbone.json"

    @property
    def history(self) -> Path:
        return self.path / "history.csv"

    @property
    def resumes(self) -> Path:
        return self.path / "resumes.csv"

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def folds(self) -> Path:
        return self.path / "folds.csv"

    def neighbours(self, image_size: int) -> Path:
        return self.path / f"neighbours-{image_size}.npz"

    def predictions(self, digest: str) -> Path:
        return self.path / f"predictions-{digest}"

    @property
    def state(self) -> dict[str, Any]:
        """The content of state.json; empty if missing or damaged, since checkpoints have the same information."""
        content = _read_or_empty(self.path / "state.json")
        best = content.get("best")
        is_valid = has_types(content, _STATE_TYPES) and (
            best is None or (BEST_TYPES.keys() <= best.keys() and has_types(best, BEST_TYPES))
        )
        return content if is_valid and (best or content.get("status") != "trained") else {}

    @property
    def best(self) -> dict[str, Any]:
        """The best epoch of a trained run, in state.json."""
        best: dict[str, Any] | None = self.state.get("best")
        if not best:
            raise RunError(
                f"{self.path / 'state.json'} is missing or damaged; restore a copy of it, or move {self.path} away to"
                " train again"
            )
        return best

    @property
    def versions(self) -> dict[str, Any]:
        """The versions of podium and its libraries when the run started."""
        return _read_or_empty(self.path / "versions.json")

    def update_state(self, **changes: Any) -> None:
        write_json(self.path / "state.json", {**self.state, **changes}, fsync=False)

    @property
    def is_trained(self) -> bool:
        return self.state.get("status") == "trained" and self.best_weights.is_file()

    @property
    def checkpoints(self) -> list[Path]:
        """The paths of all checkpoints, newest first."""
        paths = (self.path / "checkpoints").glob("checkpoint-*.npz")
        return sorted((path for path in paths if CHECKPOINT_NAME.fullmatch(path.name)), reverse=True)

    @property
    def checkpoint_time(self) -> float:
        """When the newest checkpoint was written; 0 if there is none."""
        checkpoints = self.checkpoints
        return checkpoints[0].stat().st_mtime if checkpoints else 0.0

    @property
    def is_resumable(self) -> bool:
        """Whether it is not trained but has a checkpoint."""
        return not self.is_trained and bool(self.checkpoints)

    def check_best_weights(self) -> None:
        """Fail if they are damaged: a flipped bit would change predictions without an error."""
        digest = self.best.get("digest")
        if digest and digest_of_file(self.best_weights) != digest:
            raise RunError(
                f"{self.best_weights} is damaged (its checksum does not match); restore a copy of it, or"
                f" move {self.path} away to train again"
            )

    def start(self, config: Mapping[str, Any], folds: Path) -> None:
        """Create the folder with its config and folds, replacing an existing one."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        self.describe(config, folds)
        self.update_state(status="training")

    def describe(self, config: Mapping[str, Any], folds: Path) -> None:
        """Write the config, the folds and the versions."""
        write_text(self.config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        write_text(self.folds, folds.read_text(encoding="utf-8"))
        if not (self.path / "versions.json").is_file():
            write_json(self.path / "versions.json", versions())
        self.update_state(**{key: config[key] for key in ("dry_run", "limit") if config.get(key)})

    @property
    def timings(self) -> dict[str, float]:
        """The content of timings.json: the seconds of each part."""
        content = _read_or_empty(self.path / "timings.json")
        return {part: seconds for part, seconds in content.items() if has_types({part: seconds}, {part: _NUMBER})}

    def record_resume(self, stage: str, epoch: int, step: int) -> None:
        is_new = not self.resumes.is_file()
        with self.resumes.open("a", encoding="utf-8") as file:
            file.write(is_new * "stage,epoch,step,at\n" + f"{stage},{epoch},{step},{timestamp()}\n")

    def read_history(self) -> "pd.DataFrame":
        """The content of history.csv: a row for each epoch of every stage, and `resumed` if any of them was."""
        import pandas as pd

        epochs = self.read_epochs()
        if self.resumes.is_file():
            resumes = read_run_table(self.resumes, ["stage", "epoch"], texts=["stage", "at"])
            resumed = {(row["stage"], row["epoch"]) for row in resumes}
            epochs = [{**row, "resumed": (row["stage"], row["epoch"]) in resumed} for row in epochs]
        return pd.DataFrame(epochs)

    def read_epochs(self, *more: str) -> list[dict[str, Any]]:
        """The rows of history.csv, which has these columns, too."""
        return read_run_table(self.history, ["stage", "epoch", "loss", *more], texts=["stage", "changes"])

    def record_seconds(self, parts: Mapping[str, float]) -> None:
        """Add the seconds of these parts to timings.json."""
        write_json(
            self.path / "timings.json", self.timings | {part: round(seconds, 3) for part, seconds in parts.items()}
        )

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Record how many seconds the block took."""
        start = time.perf_counter()
        yield
        self.record_seconds({part: time.perf_counter() - start})


def read_predictions_facts(folder: Path) -> dict[str, Any]:
    """The content of predictions.json in a folder of predictions; empty if there is none."""
    facts = read_json(folder / "predictions.json")
    if facts and not (_PREDICTIONS_TYPES.keys() <= facts.keys() and has_types(facts, _PREDICTIONS_TYPES)):
        raise RunError(f"{folder / 'predictions.json'} is damaged; predict again, or restore a copy of it")
    return facts


def read_run_table(path: Path, required: Sequence[str], texts: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a CSV file with these columns and others: numbers, NaN where they are empty, except `texts`."""
    try:
        return [_parsed(row, required, texts) for row in read_records(path)]
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({str(error).strip()}); restore a copy of it") from None


def _parsed(row: Mapping[str, str], required: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    if missing := [name for name in required if name not in row]:
        raise ValueError(f"it has no column {' and '.join(missing)}")
    if None in row or None in row.values():
        raise ValueError("its rows differ in length")
    return {name: text if name in texts else _number(name, text) for name, text in row.items()}


def _number(column: str, text: str) -> float:
    try:
        number = float(text or "nan")
    except ValueError:
        raise ValueError(f"the column {column} has text") from None
    return int(number) if abs(number) <= 2**53 and number.is_integer() else number


def all_runs(folder: Path) -> list[Run]:
    """Every fold that was begun."""
    parts = ("config.yaml", "state.json", "checkpoints", BEST_WEIGHTS)
    return [Run(path) for path in sorted(folder.glob("*/fold[0-9]*")) if any((path / part).exists() for part in parts)]


def runs_in(folder: Path) -> list[Run]:
    """The run in a folder, or the trained folds in the folder of a member."""
    runs = [Run(folder)] if Run(folder).is_trained else trained_folds(folder)
    if not runs:
        raise RunError(f"{folder} has no trained run; expected runs/<member>-<digest>, a fold of it, or a blend")
    return runs


def trained_folds(folder: Path, folds: Sequence[int] = ()) -> list[Run]:
    """All of a member, or these."""
    runs = [Run(path) for path in sorted(folder.glob("fold[0-9]*"))]
    wanted = {f"fold{fold}" for fold in folds}
    return [run for run in runs if run.is_trained and (not wanted or run.path.name in wanted)]


def record_generated_folds(folds: Path) -> None:
    """Record the digest of a table of folds, to detect later whether a user edited it."""
    path = folds.parent / _GENERATED_FOLDS
    write_json(path, _read_or_empty(path) | {folds.name: digest_of_file(folds)})


def edited_folds(runs: Path, slug: str) -> dict[str, str]:
    """The competition's tables of folds that a user edited, by file name."""
    generated = _read_or_empty(runs / "folds" / _GENERATED_FOLDS)
    tables = sorted((runs / "folds").glob(f"{slug}-*.csv"))
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in tables
        if generated.get(path.name) != digest_of_file(path)
    }


def _read_or_empty(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if missing or damaged."""
    with suppress(RunError):
        return read_json(path)
    return {}


def has_types(content: Mapping[str, Any], types: Mapping[str, Any]) -> bool:
    """Whether the values of these keys have these types, and numbers are finite."""
    return all(
        isinstance(value, type_) and not (isinstance(value, float) and not math.isfinite(value))
        for key, type_ in types.items()
        if (value := content.get(key, _ABSENT)) is not _ABSENT
    )


_LIBRARIES = (
    "tensorflow", "keras", "keras-hub", "efficientnet", "albumentations", "opencv-python-headless", "numpy", "pandas",
    "scikit-learn", "scipy", "pycocotools", "kaggle",
)  # fmt: skip


def versions() -> dict[str, str]:
    """The versions of podium and its libraries."""
    import platform

    podium = {"podium": _version("podium-kit"), "commit": git_commit(), "python": platform.python_version()}
    return podium | {library: _version(library) for library in _LIBRARIES}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def git_commit() -> str:
    """The git commit of podium's source, with `+changes` if files differ from it, or `unknown` without git.

    In a kernel the packed script sets PODIUM_COMMIT.
    """
    if os.environ.get("PODIUM_COMMIT"):
        return os.environ["PODIUM_COMMIT"]
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", str(here)) else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
