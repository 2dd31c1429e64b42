"""A run folder: one member trained on one fold, its files, and how far it is.

    runs/<member>-<digest>/fold<k>/
      config.yaml                 the resolved configuration
      folds.csv                   every row's fold, as it was when the run began
      state.json                  how far it is, and which epoch of which stage was best
      history.csv                 a line an epoch, across all stages
      changes.csv                 what was changed on the way, if anything was
      checkpoints/                what a stopped training resumes from
      best.weights.h5             the best weights, when all stages are over
      backbone.json               how the backbone of a KerasHub preset is built, without the preset
      timings.json versions.json  seconds of each part; versions of podium, its libraries and the git commit
      classification_report.csv confusion_matrix.csv     of the validation rows, by the plain image
      predictions-<digest>/       what one choice of test-time views predicts: oof.csv, test.csv, views.csv, …

The digest is that of everything that decides the weights, so a changed config gets a folder of its own.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from podium.errors import RunError
from podium.files import digest_of_file, read_json, write_json, write_text

BEST_WEIGHTS = "best.weights.h5"
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d{6})-([0-9a-f]{16})\.npz")
"""Of a checkpoint: its number, and the digest of its bytes."""
_AS_MADE = ".as-made.json"
_NUMBER = int | float
_IN_STATE = {
    "status": str, "stage": str, "epoch": int, "epochs": int, "step": int, "steps": int, "best": dict | None,
    "changes": int, "seconds": _NUMBER, "seconds_per_image": _NUMBER, "command": str, "dry_run": bool, "limit": int,
}  # fmt: skip
_IN_BEST = {"stage": str, "epoch": int, "monitor": str, "score": _NUMBER, "image_size": int}


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
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def folds(self) -> Path:
        return self.path / "folds.csv"

    def predictions(self, digest: str) -> Path:
        return self.path / f"predictions-{digest}"

    @property
    def state(self) -> dict[str, Any]:
        """What state.json says. It follows from the checkpoints, so one that makes no sense is as good as none."""
        try:
            content = read_json(self.path / "state.json")
        except RunError:
            return {}
        best = content.get("best")
        makes_sense = _has_kinds(content, _IN_STATE) and (best is None or _has_kinds(best, _IN_BEST, all_of_them=True))
        return content if makes_sense and (best or content.get("status") != "trained") else {}

    @property
    def versions(self) -> dict[str, Any]:
        """What the run began with."""
        try:
            return read_json(self.path / "versions.json")
        except RunError:
            return {}

    def update_state(self, **changes: Any) -> None:
        write_json(self.path / "state.json", {**self.state, **changes}, fsync=False)

    @property
    def is_trained(self) -> bool:
        return self.state.get("status") == "trained" and self.best_weights.is_file()

    @property
    def checkpoints(self) -> list[Path]:
        """What a training can go on from, newest first."""
        found = (self.path / "checkpoints").glob("checkpoint-*.npz")
        return sorted((path for path in found if CHECKPOINT_NAME.fullmatch(path.name)), reverse=True)

    @property
    def saved_at(self) -> float:
        states = self.checkpoints
        return states[0].stat().st_mtime if states else 0.0

    @property
    def is_resumable(self) -> bool:
        """Not trained, but something is saved."""
        return not self.is_trained and bool(self.checkpoints)

    def check_best_weights(self) -> None:
        """A flipped bit in them would give other predictions and no error."""
        noted = self.state["best"].get("digest")
        if noted and digest_of_file(self.best_weights) != noted:
            raise RunError(
                f"{self.best_weights} is damaged (its bytes are not those that were saved); put back a copy of it, or"
                f" move {self.path} away to train anew"
            )

    def start(self, config: Mapping[str, Any], folds: Path) -> None:
        """An empty folder with what the run is made of. A try that saved nothing is removed."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        self.describe(config, folds)
        self.update_state(status="training")

    def describe(self, config: Mapping[str, Any], folds: Path) -> None:
        """Write what the run is made of."""
        write_text(self.config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        write_text(self.folds, folds.read_text(encoding="utf-8"))
        if not (self.path / "versions.json").is_file():
            write_json(self.path / "versions.json", versions())
        self.update_state(**{key: config[key] for key in ("dry_run", "limit") if config.get(key)})

    def record_seconds(self, parts: Mapping[str, float]) -> None:
        """Write in timings.json how long parts took."""
        path, known = self.path / "timings.json", {}
        with suppress(RunError):  # for people only: a damaged one is begun anew
            known = read_json(path)
        write_json(path, {**known, **{part: round(seconds, 3) for part, seconds in parts.items()}})

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Note how many seconds the block took."""
        began = time.perf_counter()
        yield
        self.record_seconds({part: time.perf_counter() - began})


def record_generated_folds(folds: Path) -> None:
    """Remember a table of folds as podium wrote it, to know later whether a person has changed it."""
    path = folds.parent / _AS_MADE
    known: dict[str, Any] = {}
    with suppress(RunError):
        known = read_json(path)
    write_json(path, {**known, folds.name: digest_of_file(folds)})


def edited_folds(runs: Path, slug: str) -> dict[str, str]:
    """The competition's tables of folds that are not as podium wrote them, by file name."""
    folder = runs / "folds"
    known: dict[str, Any] = {}
    with suppress(RunError):
        known = read_json(folder / _AS_MADE)
    tables = sorted(folder.glob(f"{slug}-*.csv"))
    return {
        path.name: path.read_text(encoding="utf-8") for path in tables if known.get(path.name) != digest_of_file(path)
    }


def _has_kinds(content: Mapping[str, Any], kinds: Mapping[str, Any], *, all_of_them: bool = False) -> bool:
    if all_of_them and not kinds.keys() <= content.keys():
        return False
    return all(isinstance(content[key], kind) for key, kind in kinds.items() if key in content)


_LIBRARIES = (
    "tensorflow", "keras", "keras-hub", "efficientnet", "albumentations", "opencv-python-headless", "numpy", "pandas",
    "scikit-learn", "scipy", "pycocotools", "kaggle",
)  # fmt: skip


def versions() -> dict[str, str]:
    """What a run was made with."""
    import platform

    found = {"podium": _version("podium-kit"), "commit": git_commit(), "python": platform.python_version()}
    return {**found, **{library: _version(library) for library in _LIBRARIES}}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def git_commit() -> str:
    """The commit podium's own source is at, with `+changes` when files differ from it, or `unknown` outside git.

    In a kernel podium is unpacked from a script, which says what commit it was made of.
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
