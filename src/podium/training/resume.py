"""Going on with a training that was stopped: with the same config, or with one changed in what may change on the way.

The same config has the same run folder, and goes on in it. A changed config has a folder of its own, as always: it
begins with a copy of the other run's newest state, and the other run stays as it was.
"""

import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from podium.changes import (
    LEARNING_RATE,
    Change,
    asked_folder,
    changes_file,
    merged,
    now,
    read_changes,
    spell,
    write_changes,
)
from podium.config.stage import Stage
from podium.errors import RunError
from podium.locks import locked
from podium.runs import Run

if TYPE_CHECKING:
    from podium.training.checkpoints import Checkpoint
    from podium.training.training_progress import Progress

IN_A_STAGE = ("learning_rate", "schedule", "epochs", "batch_size", "early_stopping", "views")
"""What may change in a stage that is under way. In one that has not begun, everything may."""
MADE_OF = {"rows": "rows and images", "folds": "folds", "weights": "weights file", "labels": "classes"}


def settings_in(resolved: dict[str, Any]) -> dict[str, Any]:
    """The settings of what was trained, in a resolved config: a member's, or a detector's."""
    settings: dict[str, Any] = resolved["member"] if "member" in resolved else resolved["detector"]
    return settings


@dataclass(frozen=True)
class Judged:
    """The differences between a run's config and the one asked for: those that can be made, and those that cannot."""

    changes: list[Change]
    refused: list[str]


def judge(was: dict[str, Any], asked: dict[str, Any], decisive: Collection[str], progress: "Progress") -> Judged:
    """`decisive` are the keys of the settings that decide the weights."""
    refused = [
        f"{key} {_short(before)} -> {_short(after)}"
        for key, before, after in _differences(_lasting(was, decisive), _lasting(asked, decisive))
    ]
    changes: list[Change] = []
    at = now()
    before_stages, after_stages = settings_in(was)["stages"], settings_in(asked)["stages"]
    current = progress.stage
    for number in range(max(len(before_stages), len(after_stages))):
        old = before_stages[number] if number < len(before_stages) else None
        new = after_stages[number] if number < len(after_stages) else None
        if old is None or new is None:
            if number <= current:
                refused.append(f"stage {(old or {}).get('name')}, which has begun, is gone")
            else:
                before, after = (stage["name"] if stage else None for stage in (old, new))
                changes.append(Change(number, 0, 0, "stage", before, after, "resume", at))
            continue
        is_over = number < current or (number == current and all(progress.is_over(_stage(one)) for one in (old, new)))
        for key, before, after in _differences(old, new):
            if number > current:
                changes.append(Change(number, 0, 0, key, before, after, "resume", at))
            elif is_over or key.split(".")[0] not in IN_A_STAGE:
                why = "is over" if is_over else "has begun"
                refused.append(f"stages.{number}.{key} {_short(before)} -> {_short(after)} (stage {old['name']} {why})")
            else:
                if key == LEARNING_RATE:
                    before = progress.learning_rate(_stage(old))
                changes.append(Change(*progress.position, key, before, after, "resume", at))
    return Judged(changes, refused)


def _lasting(resolved: dict[str, Any], decisive: Collection[str]) -> dict[str, Any]:
    """What holds from a training's first step to its last."""
    made_of = resolved["made_of"]
    return {
        **{key: value for key, value in settings_in(resolved).items() if key in decisive and key != "stages"},
        **{name: made_of[key] for key, name in MADE_OF.items()},
        "metric": resolved.get("competition", {}).get("metric"),
        "limit": resolved["limit"],
        "dry run": resolved["dry_run"],
    }


def _stage(content: dict[str, Any]) -> Stage:
    return Stage.model_validate(content)


def _differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and "kind" not in old:
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def _short(value: Any) -> str:
    text = spell(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


@dataclass(frozen=True)
class Source:
    """A run to go on from, under a changed config."""

    run: Run
    saved: "Checkpoint"
    changes: list[Change]


def other_runs(run: Run, name: str) -> list[Run]:
    """Runs of the same member and fold with another config that have something saved, the last saved first."""
    named = re.compile(re.escape(name) + "-[0-9a-f]{8}")
    others = [
        Run(folder / run.path.name)
        for folder in run.path.parent.parent.glob(f"{name}-*")
        if named.fullmatch(folder.name) and folder != run.path.parent
    ]
    return sorted((one for one in others if one.checkpoints), key=lambda one: one.saved_at, reverse=True)


def find_source(run: Run, asked: dict[str, Any], decisive: Collection[str], console: Console) -> Source | None:
    """The run last saved that the config asked for can go on from; none when there is no other run at all."""
    from podium.training.checkpoints import CheckpointStore

    refusals = []
    for other in other_runs(run, asked["name"]):
        try:
            with locked(other.path):
                saved = CheckpointStore(other.path).newest(console)
            if saved is None:
                continue
            saved.progress.changes = merged(saved.progress.changes, read_changes(other.path))
            judged = judge(read_config(other), asked, decisive, saved.progress)
        except RunError as error:
            refusals.append(str(error))
            continue
        if not judged.refused:
            return Source(other, saved, judged.changes)
        refusals.append(
            f"{other.path} cannot go on so: {'; '.join(judged.refused)}. That is settled once training has begun;"
            " leave out --resume to train this config from its beginning, in a folder of its own"
        )
    if refusals:
        raise RunError(refusals[0])
    return None


def read_config(run: Run) -> dict[str, Any]:
    try:
        content = yaml.safe_load(run.config.read_text(encoding="utf-8"))
        for stage in settings_in(content)["stages"]:
            _stage(stage)
        _lasting(content, ())
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise RunError(
            f"{run.config} does not say what that run was made of; without it no other config can go on from it: leave"
            " out --resume to start anew, or move that folder away"
        ) from None
    assert isinstance(content, dict)
    return content


def branch(source: Source, run: Run, resolved: dict[str, Any], folds: Path) -> None:
    """Begin the run with a copy of the other's state, whole or not at all."""
    from podium.training.checkpoints import CheckpointStore

    new = Run(run.path.parent / f".writing-{run.path.name}")
    shutil.rmtree(new.path, ignore_errors=True)
    new.start(resolved, folds)
    with locked(source.run.path):
        CheckpointStore(source.run.path).copy(source.saved, new.path)
        if source.run.recipe.is_file():
            shutil.copyfile(source.run.recipe, new.recipe)
    known = source.saved.progress.changes
    if any(change.key == LEARNING_RATE for change in source.changes):  # nothing asked for later outlives that
        known = [change for change in known if change.position <= source.saved.progress.position]
    elif asked_folder(source.run.path).is_dir():
        shutil.copytree(asked_folder(source.run.path), asked_folder(new.path))
    write_changes(new.path, merged(known, source.changes))
    new.update_state(branched_from=str(source.run.path))
    shutil.rmtree(run.path, ignore_errors=True)
    new.path.rename(run.path)


def tell_changes(source: Source, run: Run, resolved: dict[str, Any], console: Console) -> None:
    console.print(f"  goes on from {source.run.path}, which stays as it is; noted in {changes_file(run.path)}:")
    names = [stage["name"] for stage in settings_in(resolved)["stages"]]
    for change in source.changes:
        name = names[change.stage] if change.stage < len(names) else change.before
        after = f" after step {change.step}" if change.step else ""
        console.print(f"    stage {name}, from epoch {change.epoch + 1}{after} on: {change}", highlight=False)
