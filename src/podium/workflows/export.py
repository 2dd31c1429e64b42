"""`podium export`: copy run folders into an MLflow store, for those who compare experiments there."""

import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.changes import format_value
from podium.errors import MachineError
from podium.evaluation.comparison import damaged_config, read_config
from podium.files import digest_of_file
from podium.runs import CONFIG_TYPES, Run, all_runs, has_types

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LONGEST_NAME = 250
"""MLflow allows no more."""
_NOT_METRICS = ("epoch", "stage", "changes")
"""Columns of history.csv."""
_LONGEST = 500
"""Characters of a setting's value that every version of MLflow stores."""
_CONFIG_TYPES = {**CONFIG_TYPES, "detector": dict}
_RUN, _STATE = "podium.run", "podium.state"
"""Tags: the run folder, and what it contained when it was exported."""


def export(runs: Path, store: str, console: Console) -> None:
    """Each run of a fold becomes a run of the experiment with its competition's name. Unchanged ones are skipped."""
    if find_spec("mlflow") is None:
        raise MachineError("podium export needs MLflow: pip install 'podium-kit[mlflow]'")
    found = [run for run in all_runs(runs) if run.config.is_file()]
    if not found:
        console.print(f"no runs in {runs}; start one with podium train or podium run")
        return
    configs = [_config_of(run) for run in found]
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # they describe how they create their tables
        logging.getLogger(name).setLevel(logging.WARNING)
    client, known, added = MlflowClient(tracking_uri=store), dict[str, dict[str, Any]](), 0
    for run, config in zip(found, configs, strict=True):
        state = _state_of(run)
        experiment = _experiment(client, _experiment_name(config))
        if experiment not in known:
            known[experiment] = {each.data.tags.get(_RUN, ""): each for each in client.search_runs([experiment])}
        before = known[experiment].get(str(run.path))
        if before and before.data.tags.get(_STATE) == state:
            continue
        if before:
            client.delete_run(before.info.run_id)
        _copy(client, experiment, run, config, state)
        added += 1
    others = ", the others were there already" if added < len(found) else ""
    console.print(f"{store}: {added} of {len(found)} runs exported{others}")


def _config_of(run: Run) -> dict[str, Any]:
    config = read_config(run)
    if not config or not has_types(config, _CONFIG_TYPES):
        raise damaged_config(run, "podium train")
    return config


def _state_of(run: Run) -> str:
    return " ".join(digest_of_file(path) for path in (run.path / "state.json", run.history) if path.is_file())


def _experiment_name(config: Mapping[str, Any]) -> str:
    return str((config.get("competition") or {}).get("slug") or config.get("name") or "podium")


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name)


def _copy(client: "MlflowClient", experiment: str, run: Run, config: Mapping[str, Any], state: str) -> None:
    from mlflow.entities import Metric, Param

    name = f"{run.path.parent.name} {run.path.name}"
    tags = {"mlflow.runName": name, _RUN: str(run.path)}
    tags |= {f"podium.{library}": str(version) for library, version in run.versions.items()}
    created = client.create_run(experiment, tags=tags).info.run_id
    settings = list(_flat(config.get("member") or config.get("detector") or {}))
    for start in range(0, len(settings), 100):  # the most in one call
        part = settings[start : start + 100]
        client.log_batch(created, params=[Param(_name(key), format_value(value)[:_LONGEST]) for key, value in part])
    metrics = [Metric(_name(key), value, 0, step) for step, row in _history(run) for key, value in row.items()]
    if best := run.state.get("best"):
        metrics.append(Metric("best", best["score"], 0, 0))
    for start in range(0, len(metrics), 1000):  # likewise
        client.log_batch(created, metrics=metrics[start : start + 1000])
    client.set_terminated(created, "FINISHED" if run.is_trained else "KILLED")
    client.set_tag(created, _STATE, state)  # last: without it the run is exported again


def _name(key: str) -> str:
    """MLflow allows few characters."""
    return re.sub(r"[^\w./ -]", "_", key)[:_LONGEST_NAME]


def _flat(settings: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by key, as in `stages.0.epochs`."""
    if isinstance(settings, Mapping) and settings:
        items = settings.items()
    elif isinstance(settings, list) and any(isinstance(item, Mapping | list) for item in settings):
        items = dict(enumerate(settings)).items()
    else:
        yield key, settings
        return
    for name, value in items:
        yield from _flat(value, f"{key}.{name}" if key else str(name))


def _history(run: Run) -> Iterator[tuple[int, dict[str, float]]]:
    """The number of the epoch in all stages, and its figures."""
    if not run.history.is_file():
        return
    for number, row in enumerate(run.read_epochs()):
        yield number, {key: value for key, value in row.items() if key not in _NOT_METRICS and not math.isnan(value)}
