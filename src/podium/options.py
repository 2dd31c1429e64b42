"""The options that commands share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from podium.signals import StopCondition


@dataclass(frozen=True)
class RunOptions:
    """Which data, folds and rows a command uses, and where runs are."""

    data: Path | None = None
    """The data folder; see `paths.data_folder` for the default."""
    runs: Path = Path("runs")
    folds: tuple[int, ...] = ()
    """Instead of the config's folds."""
    limit: int | None = None
    """The number of training rows per fold."""
    limit_test: int | None = None
    """The number of test images to predict."""
    dry_run: bool = False
    resume: bool = False
    """Resume a stopped training. Keys that can change during training may differ from before."""
    stop_condition: StopCondition = field(default_factory=StopCondition)
    command: str = "podium train … --resume"
    """The command that resumes a stopped training, for messages."""
    live_page: bool = False
    """Whether the report of a run is rewritten while it trains."""
    on_save: Callable[[], None] | None = None
    """Called after every checkpoint."""
    on_epoch: Callable[[Sequence[Mapping[str, Any]]], None] | None = None
    """Called after every epoch with all rows of the history, once a checkpoint is saved; an exception ends the run."""
    labels: Path | None = None
    """Where the folder of ensembles' labels is, if not in runs."""
