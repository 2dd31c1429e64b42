"""Search for better settings of a member: a trial is a training with other values, which Optuna chooses."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from podium.config.loading import Member
from podium.config.search import SearchValues
from podium.config.yaml_file import flow_text, parse_overrides, text_with_values
from podium.errors import ConfigError, MachineError, MemoryFullError, RunError, TrainingDivergedError
from podium.evaluation.metrics import metric_of
from podium.files import digest_of, write_table, write_text
from podium.locks import lock_holder, wait_for_lock
from podium.options import RunOptions
from podium.workflows.configs import load_member
from podium.workflows.fold_runs import FoldRun, fold_runs
from podium.workflows.prepare import Prepared, prepare
from podium.workflows.train import train_if_needed
from podium.yaml_text import parse_yaml

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

UNUSABLE = (ConfigError, TrainingDivergedError, MemoryFullError)
"""Errors of values that do not work: the trial is pruned."""
STEPS_PER_FOLD = 100_000
"""A trial on several folds reports epoch e of its n-th fold as a step of its own, so that equal ones are compared."""


@dataclass(frozen=True)
class Search:
    """What is searched, and how."""

    file: Path
    overrides: Sequence[str] = ()
    seed: int | None = None
    """Instead of the file's. It also decides which values are tried."""
    trials: int = 20
    startup: int = 5
    """The number of finished trials before any is pruned."""
    warmup: int = 0
    """The number of epochs of each trial before it may be pruned."""

    def member(self, values: Sequence[str] = ()) -> Member:
        return load_member(self.file, [*self.overrides, *values], self.seed)

    def text_with(self, values: Mapping[str, Any]) -> str:
        """The member file with these values and those of --set, comments included."""
        given = {override.key: override.value for override in parse_overrides(self.overrides)[0]}
        seed = {} if self.seed is None else {"seed": self.seed}
        return text_with_values(self.file, {**given, **seed, **values})

    def check(self, member: Member, write: Path | None) -> None:
        """Raise an error for whatever would only be noticed at the end."""
        if find_spec("optuna") is None:
            raise MachineError("podium search needs Optuna: pip install 'podium-kit[search]'")
        values = member.settings.search
        if not values:
            example = "search: {stages.0.learning_rate: {low: 1e-4, high: 1e-2, log: true}}"
            raise ConfigError(f"{self.file} has no key search; add what to vary, such as {example}")
        if member.settings.soup:
            raise ConfigError(
                f"{self.file} is a soup, which is not trained; search with one of the members it is made of"
            )
        if write is None:
            return
        if write.exists() or write.resolve().parent != self.file.resolve().parent:
            raise ConfigError(
                f"--write {write}: expected a new file in the folder of {self.file}, as its paths are relative to it"
            )
        self.text_with({key: value.ends[0] for key, value in values.items()})


@dataclass(frozen=True)
class SearchResult:
    folder: Path
    """With study.db, trials.csv, search.png and the trials' run folders."""
    score: str
    """The name of what is compared."""
    trials: "list[FrozenTrial]"
    """The finished ones, the best first and pruned ones last."""
    importances: dict[str, float]

    @property
    def best(self) -> dict[str, str]:
        """The best values, as YAML."""
        return values_of(self.trials[0]) if self.trials and _is_complete(self.trials[0]) else {}


def search_member(
    search: Search,
    options: RunOptions,
    console: Console,
    write: Path | None = None,
    run: "Callable[[Study, Trials], None] | None" = None,
) -> SearchResult:
    """Run the missing trials of a search, by default in this process, and write its results.

    Several processes may do so at once. A search that was stopped or killed is resumed, with its trials.
    """
    member = search.member()
    search.check(member, write)
    from podium.workflows.study import best_first, importances, open_study, requeue_lost

    prepared = prepare(member.competition, options, console, [member])
    options = replace(options, folds=options.folds or tuple(prepared.folds.numbers[:1]))
    monitor, direction = _goal(member)
    base = fold_runs(member, prepared, options)[0].resolved["digest"]
    values = {key: value.model_dump(mode="json") for key, value in member.settings.search.items()}
    folder = options.runs / "search" / f"{member.name}-{digest_of([base, values, options.folds])}"
    study = open_study(folder, direction, search.startup, search.warmup)
    console.print(f"searching {', '.join(values)} in {folder}", highlight=False)
    trials = Trials(search, member, prepared, replace(options, runs=folder, labels=options.runs), console, monitor)
    requeue_lost(study, folder)
    try:
        (run or _run_here)(study, trials)
    finally:
        result = SearchResult(folder, monitor.removeprefix("val_"), best_first(study), importances(study))
        _write_results(result, study, member)
    if write and result.best:
        write_text(write, search.text_with({key: parse_yaml(text) for key, text in result.best.items()}))
    return result


def _run_here(study: "Study", trials: "Trials") -> None:
    from podium.workflows.study import run_trials

    options, seed = trials.options, trials.member.settings.seed
    run_trials(study, options.runs, trials.run, trials.search.trials, seed, options.stop_condition, options.command)


def _goal(member: Member) -> tuple[str, Literal["maximize", "minimize"]]:
    """The column of the history that is compared."""
    if member.settings.monitor == "loss":
        return "val_loss", "minimize"
    metric = metric_of(member.competition)
    return f"val_{metric.name}", "maximize" if metric.higher_is_better else "minimize"


@dataclass(frozen=True)
class Trials:
    """Trains the member with the values of a trial."""

    search: Search
    member: Member
    prepared: Prepared
    options: RunOptions
    console: Console
    monitor: str

    def run(self, trial: "Trial") -> float:
        """The mean score of the folds. Reports every epoch, and stops where the trial is pruned."""
        from optuna import TrialPruned

        try:
            member = self.member_of(trial)
            score = fmean(self._train(trial, member, position) for position in range(len(self.options.folds)))
        except UNUSABLE as error:
            self.console.print(f"trial {trial.number}: {error}", highlight=False)
            raise TrialPruned(str(error)) from None
        except TrialPruned:
            self.console.print(f"trial {trial.number}: pruned", highlight=False)
            raise
        self.print_score(trial, score)
        return score

    def member_of(self, trial: "Trial") -> Member:
        """The member with the values of this trial."""
        if self.search.member() != self.member:
            raise RunError(f"{self.search.file} has changed during the search; start it again for a new study")
        values = {key: flow_text(suggest(trial, key, value)) for key, value in self.member.settings.search.items()}
        trial.set_user_attr("values", values)
        assignments = [f"{key}={text}" for key, text in values.items()]
        self.console.print(f"trial {trial.number}: {', '.join(assignments)}", highlight=False)
        return self.search.member([*assignments, "search={}"])

    def fold_run(self, trial: "Trial", member: Member, position: int, **options: Any) -> FoldRun:
        fold = replace(self.options, folds=(self.options.folds[position],), **options)
        found = fold_runs(member, self.prepared, fold)[0]
        trial.set_user_attr("run", found.path.parent.name)
        return found

    def report(self, trial: "Trial", position: int, history: Sequence[Mapping[str, Any]], reported: int) -> int:
        """Report the epochs of a fold that were not reported before; returns how many are."""
        for epoch, row in enumerate(history[reported:], reported):
            trial.report(float(row[self.monitor]), position * STEPS_PER_FOLD + epoch)
        return max(reported, len(history))

    def print_score(self, trial: "Trial", score: float) -> None:
        self.console.print(f"trial {trial.number}: {self.monitor} {score:.4f}{_best_before(trial)}", highlight=False)

    def _train(self, trial: "Trial", member: Member, position: int) -> float:
        """Train one fold, or use the run of an earlier trial with the same values."""
        from optuna import TrialPruned

        epochs = sum(stage.epochs for stage in member.settings.stages)
        reported = 0

        def report(history: Sequence[Mapping[str, Any]]) -> None:
            nonlocal reported
            reported = self.report(trial, position, history, reported)
            if reported < epochs and trial.should_prune():
                raise TrialPruned

        fold_run = self.fold_run(trial, member, position, on_epoch=report)
        if holder := lock_holder(fold_run.path):
            self.console.print(f"  the same values are being trained by {holder}: waiting", highlight=False)
        with wait_for_lock(fold_run.path):
            pass
        try:
            train_if_needed(fold_run, self.console, resume=True)
        except TrialPruned:
            shutil.rmtree(fold_run.path / "checkpoints")
            raise
        self.report(trial, position, fold_run.run.read_epochs(self.monitor), reported)
        return fold_run.score


def suggest(trial: "Trial", key: str, values: SearchValues) -> Any:
    """A value for this key. Numbers have four digits, as people would write them."""
    if values.choices is not None:
        return parse_yaml(trial.suggest_categorical(key, [flow_text(choice) for choice in values.choices]))
    low, high = values.low, values.high
    assert low is not None
    assert high is not None
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(key, low, high, log=values.log)
    return min(max(float(f"{trial.suggest_float(key, low, high, log=values.log):.4g}"), low), high)


def _best_before(trial: "Trial") -> str:
    with suppress(ValueError):  # no trial is complete
        best = trial.study.best_trial
        return f", best so far {best.value:.4f} in trial {best.number}"
    return ""


def _is_complete(trial: "FrozenTrial") -> bool:
    """A pruned one has a value, too: that of its last epoch."""
    return trial.state.name == "COMPLETE"


def values_of(trial: "FrozenTrial") -> dict[str, str]:
    """The values of a trial by their keys, as YAML."""
    return dict(trial.user_attrs.get("values", {}))


def _write_results(result: SearchResult, study: "Study", member: Member) -> None:
    from podium.workflows.study import draw_study

    keys = list(member.settings.search)
    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            result.score: trial.value if _is_complete(trial) else "",
            "epochs": len(trial.intermediate_values),
            **values_of(trial),
            "run": trial.user_attrs.get("run", ""),
        }
        for trial in result.trials
    ]
    columns = ["trial", "state", result.score, "epochs", *keys, "run"]
    write_table(result.folder / "trials.csv", columns, rows, fsync=False)
    if result.trials:
        draw_study(study, member.name, result.score, result.folder / "search.png")
