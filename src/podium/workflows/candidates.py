"""What `podium compare` knows of each run, classifier or detector: what made it, and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from podium.errors import RunError
from podium.files import read_json
from podium.runs import Run

TIMED = ("training", "prediction")


@dataclass(frozen=True, kw_only=True)
class Contender:
    trained_on: ClassVar[str] = "rows a fold"
    """What `limit` counts."""

    letter: str
    """What it is called in tables, where its folder's name is too long."""
    path: Path
    folders: list[Path]
    """Where its predictions are, a folder a fold."""
    slug: str
    """Of its competition, or of its set of boxes."""
    config: dict[str, Any]
    versions: dict[str, str]
    seconds: dict[str, float | None]
    """Of all its folds, by the parts of `TIMED`; None where it is not known of each."""
    is_blend: bool = False
    is_dry_run: bool = False
    limit: int | None = None
    notes: list[str] = field(default_factory=list)
    """What a person has to know who reads its figures."""

    @property
    def folds(self) -> int:
        return len(self.folders)

    @property
    def what(self) -> str:
        return "blend" if self.is_blend else f"{self.folds} fold{'s' * (self.folds != 1)}"


def folder_of(named: Path, runs: Path) -> Path:
    """As it is named, or the name of one in the folder of runs."""
    for path in (named, runs / named):
        if path.is_dir():
            return path
    raise RunError(f"there is no folder {named}, here or in {runs}; podium runs lists the members' folders")


def each_once(contenders: Sequence[Contender]) -> None:
    for number, one in enumerate(contenders):
        for other in contenders[:number]:
            if [folder.resolve() for folder in one.folders] == [folder.resolve() for folder in other.folders]:
                raise RunError(
                    f"{one.path} and {other.path} are the same predictions; expected other ones: name each run once"
                )


def versions_of(run: Run) -> dict[str, str]:
    """With what it computed in: where a config says auto, the machine decided."""
    found = {name: str(version) for name, version in run.versions.items()}
    precision = (run.state.get("best") or {}).get("precision")
    return {**found, **({"computed in": str(precision)} if precision else {})}


def seconds_of(runs: Sequence[Run]) -> dict[str, float | None]:
    timed = [_timings(run) for run in runs]
    return {part: sum(one[part] for one in timed) if all(part in one for one in timed) else None for part in TIMED}


def _timings(run: Run) -> dict[str, float]:
    try:
        content = read_json(run.path / "timings.json")
    except RunError:  # for people only, as podium takes it elsewhere
        return {}
    return {part: content[part] for part in TIMED if isinstance(content.get(part), int | float)}
