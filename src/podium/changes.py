"""The changes made to a run during training, each from a step on: changes.csv.

A change takes effect at a position (stage, epoch, step), so a run that resumes from an earlier checkpoint applies it
again at the same step. `podium set` writes a request to the folder `requests`; the training reads it before its next
step, and records the change in changes.csv before applying it.
"""

import csv
import io
import json
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from podium.errors import ConfigError, RunError
from podium.files import parse_json, read_json, write_json, write_table

LEARNING_RATE = "learning_rate"
COLUMNS = ("stage", "epoch", "step", "key", "before", "after", "by", "at", "request")

Position = tuple[int, int, int]
"""The stage's number, the epoch in it, and how many steps of that epoch are done; each from 0."""


@dataclass(frozen=True)
class Change:
    stage: int
    epoch: int
    step: int
    key: str
    before: Any
    after: Any
    by: Literal["set", "resume"]
    at: str
    request: str = ""
    """The name of the request from `podium set`."""

    def __post_init__(self) -> None:
        if self.key == LEARNING_RATE and not _is_rate(self.after):
            raise ValueError(f"expected a learning rate above 0, got {self.after!r}")

    @property
    def position(self) -> Position:
        return (self.stage, self.epoch, self.step)

    def __str__(self) -> str:
        return f"{self.key} {format_value(self.before)} -> {format_value(self.after)}"


def format_value(value: Any) -> str:
    """Format a value as in YAML, on one line."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def timestamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def changes_file(run: Path) -> Path:
    return run / "changes.csv"


def read_changes(run: Path) -> list[Change]:
    path = changes_file(run)
    try:
        return [_parse_row(row) for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(
            f"{path} cannot be read ({error}); it records what was changed in this run: fix it, or remove it to resume"
            " with the changes in the checkpoint"
        ) from None


def _parse_row(row: dict[str, str]) -> Change:
    by: Literal["set", "resume"] = "set" if row["by"] == "set" else "resume"
    position = (int(row["stage"]), int(row["epoch"]), int(row["step"]))
    before, after = parse_json(row["before"]), parse_json(row["after"])
    return Change(*position, row["key"], before, after, by, row["at"], row["request"])


def write_changes(run: Path, changes: Sequence[Change]) -> None:
    if not changes:
        changes_file(run).unlink(missing_ok=True)
        return
    rows = [
        asdict(change) | {name: json.dumps(getattr(change, name), ensure_ascii=False) for name in ("before", "after")}
        for change in changes
    ]
    write_table(changes_file(run), COLUMNS, rows)


def merge_changes(changes: Sequence[Change], others: Sequence[Change]) -> list[Change]:
    """All changes without duplicates, sorted by position."""
    return sorted(
        [*changes, *(change for change in others if change not in changes)], key=lambda change: change.position
    )


# Requests for another learning rate


@dataclass(frozen=True)
class Request:
    name: str
    learning_rate: float
    at: str
    stage: str | None
    """The stage of the training at the time of the request, if known."""


def requests_folder(run: Path) -> Path:
    return run / "requests"


def parse_request(text: str) -> float:
    """The learning rate in `learning_rate=1e-5`."""
    key, equals, value = text.partition("=")
    if key.strip() != LEARNING_RATE or not equals:
        raise ConfigError(
            f"cannot set {text!r} during training: expected learning_rate=NUMBER; for anything else stop the run,"
            " change its config, and resume with podium train --resume"
        )
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not _is_rate(rate):
        raise ConfigError(f"learning_rate: expected a number above 0, such as 1e-5: got {value.strip()!r}")
    return rate


def request_learning_rate(run: Path, learning_rate: float, stage: str | None = None) -> Path:
    """Write a request, which the training reads before its next step."""
    path = requests_folder(run) / f"{time.time_ns()}.json"
    write_json(path, {LEARNING_RATE: learning_rate, "at": timestamp(), "stage": stage})
    return path


def pending_requests(run: Path) -> list[Request]:
    """All requests, oldest first. Other files are ignored."""
    folder = requests_folder(run)
    if not folder.is_dir():  # the usual case, checked at every step
        return []
    requests = []
    for path in sorted(folder.glob("[0-9]*.json")):
        with suppress(RunError):
            content = read_json(path)
            if _is_rate(content.get(LEARNING_RATE)):
                stage = content.get("stage")
                requests.append(Request(path.stem, content[LEARNING_RATE], str(content.get("at", "")), stage))
    return requests


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and value is not True and 0 < value < math.inf


def delete_request(run: Path, name: str) -> None:
    (requests_folder(run) / f"{name}.json").unlink(missing_ok=True)
