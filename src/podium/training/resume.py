"""Starting a run folder, or resuming a stopped training with the same config or a changed one.

The same config has the same run folder, and the training is resumed there. A changed config has another run folder:
it starts with a copy of the old run's newest checkpoint, and the old run is not modified.
"""

import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.changes import (
    LEARNING_RATE,
    Change,
    changes_file,
    format_value,
    merge_changes,
    read_changes,
    requests_folder,
    timestamp,
    write_changes,
)
from podium.config.settings import decisive_keys
from podium.config.stage import Stage
from podium.errors import RunError, shortened
from podium.locks import locked
from podium.runs import Run, versions
from podium.yaml_text import read_saved

if TYPE_CHECKING:
    from podium.training.checkpoints import Checkpoint, Progress
    from podium.training.run_training import Trainable

CHANGEABLE_IN_STAGE = ("learning_rate", "schedule", "epochs", "batch_size", "early_stopping", "views")
"""Settings that may change in a stage that has started. In a later stage, all may."""
INPUTS = {
    "rows": "rows and images",
    "more_rows": "extra rows",
    "folds": "folds",
    "weights": "weights file",
    "labels": "classes",
}


def start_or_resume(trainable: "Trainable", console: Console, *, resume: bool) -> None:
    """Make the run folder ready for training: the existing one, a copy of another run's checkpoint, or a new one."""
    run, config, folds = trainable.run, trainable.resolved, trainable.folds_file
    if run.checkpoints:
        if not resume:
            raise RunError(
                f"{run.path} contains a checkpoint of {trainable.name}: add --resume to continue from it, or move that"
                " folder away to start from scratch"
            )
        _print_other_versions(run, console)
        run.describe(config, folds)
        return
    if run.best_weights.is_file():
        raise RunError(
            f"{run.path} contains weights, but neither a checkpoint nor a state.json that describes them: restore"
            " those, or move that folder away to start from scratch"
        )
    is_new = not run.state  # otherwise this config was already started from scratch
    decisive = decisive_keys(type(trainable.settings))
    if trainable.options.resume and is_new and (source := find_source(run, config, decisive, console)):
        copy_source(source, run, config, folds)
        print_changes(source, run, config, console)
        return
    if trainable.options.resume:
        console.print(f"  nothing to resume: training {trainable.name} from scratch")
    else:
        for other in other_runs(run, config["name"]):
            if other.is_resumable:
                console.print(
                    f"  {other.path} was stopped with another config; starting from scratch, use --resume to"
                    " continue from it",
                    highlight=False,
                )
    run.start(config, folds)


def _print_other_versions(run: Run, console: Console) -> None:
    """A resumed training gives the same bits only with the same library versions."""
    before, after = run.versions, versions()
    others = [
        f"{name} {before[name]} -> {after[name]}"
        for name in ("tensorflow", "keras", "numpy")
        if before.get(name, after[name]) != after[name]
    ]
    if others:
        console.print(
            f"  started with other versions ({', '.join(others)}): results may differ slightly", highlight=False
        )


# A changed config


@dataclass(frozen=True)
class Source:
    """A run to continue with a changed config."""

    run: Run
    checkpoint: "Checkpoint"
    changes: list[Change]


def other_runs(run: Run, name: str) -> list[Run]:
    """Runs of the same member and fold with another config that have a checkpoint, the newest first."""
    pattern = re.compile(re.escape(name) + "-[0-9a-f]{8}")
    others = [
        Run(folder / run.path.name)
        for folder in run.path.parent.parent.glob(f"{name}-*")
        if pattern.fullmatch(folder.name) and folder != run.path.parent
    ]
    return sorted((other for other in others if other.checkpoints), key=lambda run: run.checkpoint_time, reverse=True)


def find_source(run: Run, config: dict[str, Any], decisive: Collection[str], console: Console) -> Source | None:
    """The newest run that this config can continue; None if there is no other run.

    `decisive` contains the keys of the settings that affect the weights.
    """
    from podium.training.checkpoints import CheckpointStore

    refusals = []
    for other in other_runs(run, config["name"]):
        try:
            with locked(other.path):
                checkpoint = CheckpointStore(other.path).load_newest(console)
            if checkpoint is None:
                continue
            checkpoint.progress.changes = merge_changes(checkpoint.progress.changes, read_changes(other.path))
            changes, refused = compare_configs(read_config(other), config, decisive, checkpoint.progress)
        except RunError as error:
            refusals.append(str(error))
            continue
        if not refused:
            return Source(other, checkpoint, changes)
        refusals.append(
            f"{other.path} cannot be resumed with this config: {'; '.join(refused)}. These cannot change once training"
            " has started; omit --resume to train this config from scratch, in a new folder"
        )
    if refusals:
        raise RunError(refusals[0])
    return None


def read_config(run: Run) -> dict[str, Any]:
    try:
        content = read_saved(run.config)
        for stage in settings_in(content)["stages"]:
            Stage.model_validate(stage)
        _fixed_settings(content, ())
    except (ValueError, KeyError, TypeError):
        raise RunError(
            f"{run.config} is damaged, so its run cannot be resumed with another config: omit --resume to"
            " start from scratch, or move that folder away"
        ) from None
    assert isinstance(content, dict)
    return content


def copy_source(source: Source, run: Run, config: dict[str, Any], folds: Path) -> None:
    """Start the run with a copy of the other's checkpoint, atomically."""
    from podium.training.checkpoints import CheckpointStore

    new = Run(run.path.parent / f".writing-{run.path.name}")
    new.start(config, folds)
    with locked(source.run.path):
        CheckpointStore(source.run.path).copy_to(new.path, source.checkpoint)
        if source.run.recipe.is_file():
            shutil.copyfile(source.run.recipe, new.recipe)
    earlier = source.checkpoint.progress.changes
    if any(change.key == LEARNING_RATE for change in source.changes):  # it overrides all later requests
        earlier = [change for change in earlier if change.position <= source.checkpoint.progress.position]
    elif requests_folder(source.run.path).is_dir():
        shutil.copytree(requests_folder(source.run.path), requests_folder(new.path))
    write_changes(new.path, merge_changes(earlier, source.changes))
    new.update_state(branched_from=str(source.run.path))
    shutil.rmtree(run.path, ignore_errors=True)
    new.path.rename(run.path)


def print_changes(source: Source, run: Run, config: dict[str, Any], console: Console) -> None:
    console.print(
        f"  continues {source.run.path}, which is not modified; changes, recorded in {changes_file(run.path)}:"
    )
    names = [stage["name"] for stage in settings_in(config)["stages"]]
    for change in source.changes:
        name = names[change.stage] if change.stage < len(names) else change.before
        after = f" after step {change.step}" if change.step else ""
        console.print(f"    stage {name}, from epoch {change.epoch + 1}{after} on: {change}", highlight=False)


# Comparing configs


def settings_in(resolved: dict[str, Any]) -> dict[str, Any]:
    """The settings of a member or a detector in its resolved config."""
    settings: dict[str, Any] = resolved["member"] if "member" in resolved else resolved["detector"]
    return settings


def compare_configs(
    before: dict[str, Any], after: dict[str, Any], decisive: Collection[str], progress: "Progress"
) -> tuple[list[Change], list[str]]:
    """The changes from one config to another that are possible at this point of a training, and those that are not."""
    refused = [
        f"{key} {_short(old)} -> {_short(new)}"
        for key, old, new in _differences(_fixed_settings(before, decisive), _fixed_settings(after, decisive))
    ]
    changes: list[Change] = []
    old_stages, new_stages = settings_in(before)["stages"], settings_in(after)["stages"]
    at = timestamp()
    for number in range(max(len(old_stages), len(new_stages))):
        old, new = (stages[number] if number < len(stages) else None for stages in (old_stages, new_stages))
        if old and new:
            more, refusals = _compare_stages(number, old, new, progress, at)
            changes += more
            refused += refusals
        elif number <= progress.stage:
            refused.append(f"stage {(old or {}).get('name')}, which has started, is missing")
        else:
            old_name, new_name = (stage["name"] if stage else None for stage in (old, new))
            changes.append(Change(number, 0, 0, "stage", old_name, new_name, "resume", at))
    return changes, refused


def _compare_stages(
    number: int, old: dict[str, Any], new: dict[str, Any], progress: "Progress", at: str
) -> tuple[list[Change], list[str]]:
    is_finished = number < progress.stage or (
        number == progress.stage and all(progress.has_finished(Stage.model_validate(stage)) for stage in (old, new))
    )
    changes: list[Change] = []
    refused: list[str] = []
    for key, before, after in _differences(old, new):
        if number > progress.stage:
            changes.append(Change(number, 0, 0, key, before, after, "resume", at))
        elif is_finished or key.split(".")[0] not in CHANGEABLE_IN_STAGE:
            why = "is finished" if is_finished else "has started"
            refused.append(f"stages.{number}.{key} {_short(before)} -> {_short(after)} (stage {old['name']} {why})")
        else:
            if key == LEARNING_RATE:
                before = progress.learning_rate(Stage.model_validate(old))
            changes.append(Change(*progress.position, key, before, after, "resume", at))
    return changes, refused


def _fixed_settings(resolved: dict[str, Any], decisive: Collection[str]) -> dict[str, Any]:
    """The settings that may not change once training has started."""
    inputs = resolved["inputs"]
    return {
        **{key: value for key, value in settings_in(resolved).items() if key in decisive and key != "stages"},
        **{name: inputs.get(key) for key, name in INPUTS.items()},
        **{key: resolved.get("competition", {}).get(key) for key in ("metric", "target")},
        "limit": resolved["limit"],
        "dry run": resolved["dry_run"],
    }


def _differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and "kind" not in old:
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}", old, new


def _short(value: Any) -> str:
    return shortened(format_value(value))
