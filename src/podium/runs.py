"""A run folder: one member trained on one fold, its files, and how far it is.

    runs/<member>-<digest>/fold<k>/
      config.yaml                 the resolved configuration
      folds.csv                   every row's fold, as it was when the run began
      state.json                  how far it is, and which epoch of which stage was best
      history.csv                 a line an epoch, across all stages
      changes.csv                 what was changed on the way, if anything was
      saved/                      what a stopped training goes on from
      best.weights.h5             the best weights, when all stages are over
      timings.json versions.json  seconds of each part; versions of podium, its libraries and the git commit
      classification_report.csv confusion_matrix.csv     of the validation rows, by the plain picture
      predictions-<digest>/       what one choice of test-time views predicts: oof.csv, test.csv, views.csv, …

The digest is that of everything that decides the weights, so a changed config gets a folder of its own.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from podium.errors import RunError
from podium.files import read_json, write_json, write_text


@dataclass(frozen=True)
class Run:
    path: Path

    @property
    def best_weights(self) -> Path:
        return self.path / "best.weights.h5"

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
        """What state.json says. It follows from the saved states, so one that cannot be read is as good as none."""
        try:
            return read_json(self.path / "state.json")
        except RunError:
            return {}

    def save_state(self, **changes: Any) -> None:
        write_json(self.path / "state.json", {**self.state, **changes}, synced=False)

    @property
    def is_trained(self) -> bool:
        return self.state.get("status") == "trained" and self.best_weights.is_file()

    @property
    def saved_states(self) -> list[Path]:
        """What a training can go on from, newest first."""
        return sorted((self.path / "saved").glob("state-*.npz"), reverse=True)

    @property
    def saved_at(self) -> float:
        states = self.saved_states
        return states[0].stat().st_mtime if states else 0.0

    @property
    def is_under_way(self) -> bool:
        """Not trained, but something is saved."""
        return not self.is_trained and bool(self.saved_states)

    def start(self, config: Mapping[str, Any], folds: Path) -> None:
        """An empty folder with what the run is made of. A try that saved nothing is removed."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        self.describe(config, folds)
        self.save_state(status="training")

    def describe(self, config: Mapping[str, Any], folds: Path) -> None:
        """Write what the run is made of."""
        write_text(self.config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        write_text(self.folds, folds.read_text(encoding="utf-8"))
        write_json(self.path / "versions.json", versions())
        self.save_state(**{key: config[key] for key in ("dry_run", "limit") if config.get(key)})

    def note_seconds(self, parts: Mapping[str, float]) -> None:
        """Write in timings.json how long parts took."""
        path = self.path / "timings.json"
        write_json(path, {**read_json(path), **{part: round(seconds, 3) for part, seconds in parts.items()}})

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Note how many seconds the block took."""
        began = time.perf_counter()
        yield
        self.note_seconds({part: time.perf_counter() - began})


_LIBRARIES = (
    "tensorflow", "keras", "efficientnet", "albumentations", "opencv-python-headless", "numpy", "pandas",
    "scikit-learn", "scipy", "kaggle",
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
    """The commit podium's own source is at, with `+changes` when files differ from it, or `unknown` outside git."""
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
