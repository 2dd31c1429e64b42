"""The Optuna study of a search. It is a SQLite file that several processes share, and survives those that are killed.

While a trial runs, its process records a heartbeat. A trial without one is requeued with its values by the next process
that starts a trial.
"""

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState

from podium.errors import RunError, StoppedError
from podium.locks import lock_holder, wait_for_lock
from podium.reports.png import open_style, save_png
from podium.signals import Interrupted, StopCondition

HEARTBEAT_SECONDS = 20
MISSED_HEARTBEATS = 3
"""After so many the process of a trial counts as dead."""
MAX_RETRIES = 5
"""Of a trial that was stopped or killed: one that kills its process each time is given up."""
ON_CLUSTER = "cluster"
"""An attribute of trials that run on a cluster, and the lock of the process that follows them."""
FEWEST_FOR_IMPORTANCE = 4
DATABASE_SECONDS = 60
"""How long a process waits while another one writes to the file."""


def open_study(folder: Path, direction: Literal["maximize", "minimize"], startup: int, warmup: int) -> optuna.Study:
    """Create the study in this folder, or open it; trials are pruned from `warmup` epochs and `startup` trials on."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), wait_for_lock(folder):
        warnings.simplefilter("ignore", ExperimentalWarning)  # the heartbeat
        try:
            study = _open(folder / "study.db", direction, optuna.pruners.MedianPruner(startup, warmup))
            _check_trials(study)  # all of the file is read
        except Exception as error:  # Optuna and SQLAlchemy raise many kinds, depending on what is damaged
            reason = str(error).partition("\n")[0]
            advice = "restore a copy of it, or move it away to start the search again"
            if reason.endswith("database is locked"):
                advice = "another process has written to it all the time: wait until it ends"
            raise RunError(
                f"{folder / 'study.db'} cannot be read ({type(error).__name__}: {reason}); {advice}"
            ) from error
    return study


def _open(file: Path, direction: Literal["maximize", "minimize"], pruner: optuna.pruners.BasePruner) -> optuna.Study:
    storage = RDBStorage(
        f"sqlite:///{file}",
        engine_kwargs={"connect_args": {"timeout": DATABASE_SECONDS}},
        heartbeat_interval=HEARTBEAT_SECONDS,
        grace_period=MISSED_HEARTBEATS * HEARTBEAT_SECONDS,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MAX_RETRIES),
    )
    return optuna.create_study(
        storage=storage, pruner=pruner, study_name="search", direction=direction, load_if_exists=True
    )


def _check_trials(study: optuna.Study) -> None:
    """Raise a ValueError unless the trials have what podium wrote."""
    for trial in study.get_trials(deepcopy=False):
        if not isinstance(trial.user_attrs.get("values", {}), dict):
            raise ValueError(f"the values of trial {trial.number} are damaged")


def run_trials(
    study: optuna.Study,
    folder: Path,
    objective: Callable[[Trial], float],
    total: int,
    seed: int,
    stop_condition: StopCondition,
    command: str,
) -> None:
    """Run trials until `total` are finished, by this process or others.

    The values of a trial depend on the seed, its number, and the trials that were finished before. If this process is
    stopped, its trial is requeued with its values.
    """
    waited = 0
    while waited <= (MISSED_HEARTBEATS + 1) * HEARTBEAT_SECONDS:
        if reason := stop_condition.reason(0.0):
            raise StoppedError(f"{reason}: stopped between two trials; resume with: {command}")
        with ExitStack() as lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            lock.enter_context(wait_for_lock(folder))  # SQLite alone would let two processes take the same trial
            fail_stale_trials(study)
            states = Counter(trial.state for trial in study.get_trials(deepcopy=False))
            finished = states[TrialState.COMPLETE] + states[TrialState.PRUNED]
            if finished >= total:
                return
            if finished + states[TrialState.RUNNING] < total:
                study.optimize(_with_retry(study, objective, seed, lock, command), n_trials=1)
                waited = 0
                continue
        # The last trials run in other processes, or did when these were killed.
        time.sleep(1)
        waited += 1


def _with_retry(
    study: optuna.Study, objective: Callable[[Trial], float], seed: int, lock: ExitStack, command: str
) -> Callable[[Trial], float]:
    def run(trial: Trial) -> float:
        lock.close()
        study.sampler = sampler_of(seed, trial.number)
        trial.set_user_attr(ON_CLUSTER, False)  # a requeued one has the attributes of the first
        try:
            return objective(trial)
        except (Interrupted, StoppedError) as stopped:
            _requeue(study, study.trials[trial.number])
            if isinstance(stopped, StoppedError):
                raise
            raise StoppedError(f"{stopped}: stopped; resume with: {command}") from None

    return run


def sampler_of(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """For the trial of this number."""
    return optuna.samplers.TPESampler(seed=(seed + 1_000_003 * number) % 2**32)


def _requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        RetryHeartbeatStaleTrialCallback(MAX_RETRIES)(study, trial)


def ask(study: optuna.Study, folder: Path, seed: int) -> Trial:
    """The next trial, which another process than this one runs."""
    with warnings.catch_warnings(), wait_for_lock(folder):
        warnings.simplefilter("ignore")  # that it has no heartbeat
        study.sampler = sampler_of(seed, len(study.trials))
        trial = study.ask()
        trial.set_user_attr(ON_CLUSTER, True)
    return trial


def give_up(study: optuna.Study, numbers: Iterable[int]) -> None:
    """Requeue the trials of these numbers, which were asked for, with their values."""
    for number in numbers:
        study.tell(number, state=TrialState.FAIL)
        _requeue(study, study.trials[number])


def requeue_lost(study: optuna.Study, folder: Path) -> None:
    """Requeue the trials of a process that searched on a cluster and was killed: it records no heartbeat."""
    with wait_for_lock(folder):
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        lost = [trial.number for trial in running if trial.user_attrs.get(ON_CLUSTER)]
        if lost and lock_holder(folder / ON_CLUSTER) is None:
            give_up(study, lost)


def best_first(study: optuna.Study) -> list[FrozenTrial]:
    """All finished trials, pruned ones last."""
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    trials = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    return sorted(trials, key=lambda trial: _rank(trial, sign))


def _rank(trial: FrozenTrial, sign: int) -> tuple[bool, float, int]:
    is_complete = trial.state == TrialState.COMPLETE
    return not is_complete, sign * trial.value if is_complete and trial.value is not None else math.inf, trial.number


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of each key in the variance of the score, by fANOVA; empty if too few trials differ."""
    values = [trial.value for trial in best_first(study) if trial.state == TrialState.COMPLETE]
    if len(values) < FEWEST_FOR_IMPORTANCE or len(set(values)) == 1:
        return {}
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def draw_study(study: optuna.Study, title: str, score: str, path: Path) -> None:
    """The score of every trial with the best so far, and the importance of each key, as PNG."""
    from matplotlib.figure import Figure

    shares = importances(study)
    with open_style():
        figure = Figure(figsize=(9.6, 4.0), dpi=130, layout="constrained")
        history, *others = figure.subplots(1, 2 if shares else 1, squeeze=False)[0]
    trials = sorted(best_first(study), key=lambda trial: trial.number)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    numbers, values = [trial.number for trial in complete], [trial.value or 0.0 for trial in complete]
    better = max if study.direction == optuna.study.StudyDirection.MAXIMIZE else min
    best = [better(values[: count + 1]) for count in range(len(values))]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.intermediate_values]
    ends = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
    history.plot([trial.number for trial in pruned], ends, "x", color="0.6", label="pruned, at its last epoch")
    history.plot(numbers, values, "o", color="C0", label="complete")
    history.step(numbers, best, where="post", color="C2", label="best so far")
    history.set(xlabel="trial", ylabel=score)
    history.set_title(title, loc="left", parse_math=False)
    history.xaxis.get_major_locator().set_params(integer=True)
    history.legend(frameon=False)
    for axes in others:
        axes.barh(list(shares)[::-1], list(shares.values())[::-1], height=0.5, color="C0")
        axes.set_title("importance", loc="left")
        axes.set_xlim(0, 1)
    save_png(figure, path)
