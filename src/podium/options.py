"""What a command was asked for beside its config."""

from dataclasses import dataclass, field
from pathlib import Path

from podium.signals import StopCondition


@dataclass(frozen=True)
class RunOptions:
    """What a command was asked for beside its config."""

    data: Path | None = None
    runs: Path = Path("runs")
    folds: tuple[int, ...] = ()
    limit: int | None = None
    limit_test: int | None = None
    dry_run: bool = False
    resume: bool = False
    """Go on with a stopped training; with that of another config too, if the one asked for may take its place."""
    stop_condition: StopCondition = field(default_factory=StopCondition)
    command: str = "podium train … --resume"
    """What goes on with a stopped training."""
