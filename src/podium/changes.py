"""What was changed while a run was under way, and from where on: its changes.csv.

The file is the record that counts. A change holds from a position (stage, epoch, step) on, so a run that goes on from
an earlier state makes it again at the very same step. `podium set` leaves a request in the folder `requests`; the
training takes it up at its next step, and notes it in changes.csv before it acts on it.
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
from podium.files import read_json, write_json, write_table

LEARNING_RATE = "learning_rate"
HEADING = ("stage", "epoch", "step", "key", "before", "after", "by", "at", "request")

Position = tuple[int, int, int]
"""The number of the stage, the epoch in it, the steps of that epoch that are done; each from 0."""


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
    """The name of the request that `podium set` left."""

    @property
    def position(self) -> Position:
        return (self.stage, self.epoch, self.step)

    def __str__(self) -> str:
        return f"{self.key} {spell(self.before)} -> {spell(self.after)}"


def spell(value: Any) -> str:
    """As in YAML, on one line: nothing that a person would not write."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S")


def changes_file(run: Path) -> Path:
    return run / "changes.csv"


def read_changes(run: Path) -> list[Change]:
    path = changes_file(run)
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        return [_change(row) for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); it says what was changed in this run: mend it, or remove it to go on"
            " with what the checkpoint knows of"
        ) from None


def _change(row: dict[str, str]) -> Change:
    by: Literal["set", "resume"] = "set" if row["by"] == "set" else "resume"
    position = (int(row["stage"]), int(row["epoch"]), int(row["step"]))
    before, after = json.loads(row["before"]), json.loads(row["after"])
    return Change(*position, row["key"], before, after, by, row["at"], row["request"])


def write_changes(run: Path, changes: Sequence[Change]) -> None:
    if not changes:
        changes_file(run).unlink(missing_ok=True)
        return
    rows = [
        asdict(one) | {name: json.dumps(getattr(one, name), ensure_ascii=False) for name in ("before", "after")}
        for one in changes
    ]
    write_table(changes_file(run), HEADING, rows)


def merged(known: Sequence[Change], noted: Sequence[Change]) -> list[Change]:
    """Those a checkpoint knows, and those of the file, each once, in the order of their positions."""
    more = [change for change in noted if change not in known]
    return sorted([*known, *more], key=lambda change: change.position)


def asked_folder(run: Path) -> Path:
    return run / "requests"


def parse_request(text: str) -> float:
    """The learning rate that `learning_rate=1e-5` asks for."""
    key, equals, value = text.partition("=")
    if key.strip() != LEARNING_RATE or not equals:
        raise ConfigError(
            f"{text!r} cannot be set in a run that is under way, only learning_rate=NUMBER can; for anything else stop"
            " the run, change its config, and go on with podium train --resume"
        )
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not _is_rate(rate):
        raise ConfigError(f"learning_rate: expected a number above 0, such as 1e-5: got {value.strip()!r}")
    return rate


@dataclass(frozen=True)
class Request:
    name: str
    learning_rate: float
    at: str
    stage: str | None
    """The stage that was under way when it was asked for, as far as that was known."""


def ask(run: Path, learning_rate: float, stage: str | None = None) -> Path:
    """Leave a request for the training to find."""
    path = asked_folder(run) / f"{time.time_ns()}.json"
    write_json(path, {LEARNING_RATE: learning_rate, "at": now(), "stage": stage})
    return path


def requests(run: Path) -> list[Request]:
    """Every request that is waiting, oldest first."""
    folder = asked_folder(run)
    if not folder.is_dir():  # the usual case, at every step
        return []
    found = []
    for path in sorted(folder.glob("[0-9]*.json")):
        with suppress(RunError):
            content = read_json(path)
            if _is_rate(content.get(LEARNING_RATE)):  # else not written by `ask`
                stage = content.get("stage")
                found.append(Request(path.stem, content[LEARNING_RATE], str(content.get("at", "")), stage))
    return found


def _is_rate(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0


def forget_request(run: Path, name: str) -> None:
    (asked_folder(run) / f"{name}.json").unlink(missing_ok=True)
