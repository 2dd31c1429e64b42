"""A run folder: one member trained on one fold, its files, and how far it is.

    runs/<member>-<digest>/fold<k>/
      config.yaml                 the resolved configuration
      folds.csv                   every row's fold, as it was when the run began
      state.json                  how far it is, and which epoch of which stage was best
      history.csv                 a line an epoch, across all stages
      best.weights.h5             the best weights
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
        return read_json(self.path / "state.json")

    def save_state(self, **changes: Any) -> None:
        write_json(self.path / "state.json", {**self.state, **changes})

    @property
    def is_trained(self) -> bool:
        return self.state.get("status") == "trained" and self.best_weights.is_file()

    def start(self, config: Mapping[str, Any], folds: Path) -> None:
        """An empty folder with what the run is made of. What an unfinished earlier try left is removed."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        write_text(self.config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        write_text(self.folds, folds.read_text(encoding="utf-8"))
        write_json(self.path / "versions.json", versions())
        self.save_state(status="training")

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Note in timings.json how many seconds the block took."""
        began = time.perf_counter()
        yield
        path = self.path / "timings.json"
        write_json(path, {**read_json(path), part: round(time.perf_counter() - began, 3)})


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
