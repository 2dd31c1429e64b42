"""Tasks of podium on a Ray cluster.

A coordinator, an actor of its own on the cluster, starts the tasks and knows their states. It lives on when the process
that created it ends, and is found again by its name. Ray starts a task again if its machine is lost, and so the
coordinator; tasks that are finished then end at once, because their results are in the storage.
"""

import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from podium.errors import MachineError, PodiumError, StoppedError, UnreachableError
from podium.jobs.queue import State

RETRIES = 20
"""How often Ray starts a task again whose machine or process is lost."""
NAMESPACE = "podium"
STOP_SECONDS = 120
"""How long a stopped task may take to save its checkpoint."""
ANSWER_SECONDS = 120
POLL_SECONDS = 0.5
HEAD = "node:__internal_head__"
"""A resource of the head only. Tasks end when the machine of their coordinator is lost, and a cluster without its head
does anyway."""
Report = Callable[[str, Sequence[Mapping[str, Any]]], None]
"""Takes what a task does now, and the history of its epochs."""
Task = Callable[[Any, Report], str]
"""Does a piece of work, which has to be picklable, and reports its progress; returns a result for the table."""


@dataclass(frozen=True)
class Resources:
    """Of each task; by default a machine's CPUs, shared by as many tasks as it has GPUs."""

    cpus: float | None = None
    gpus: float | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its process."""

    @property
    def options(self) -> dict[str, Any]:
        """For Ray."""
        environment = {"env_vars": dict(self.variables)}  # podium's source is that of the coordinator
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "runtime_env": environment}


@dataclass(frozen=True)
class JobState:
    state: State = "queued"
    message: str = ""
    place: str = ""
    """The machine."""
    history: Sequence[Mapping[str, Any]] = ()
    """A row for each epoch."""
    error: str = ""
    """The kind of error of a failed job."""


@contextmanager
def connected(address: str, *, may_start: bool = False) -> Iterator[None]:
    """To `ray://HOST:PORT`, or with `ray` to that of RAY_ADDRESS or the one that this machine belongs to.

    If it belongs to none, `may_start` starts one of this machine alone, which ends with the block. podium's own source
    travels to each machine.
    """
    if find_spec("ray") is None:
        raise MachineError("--on ray needs Ray: pip install 'podium-kit[ray]'")
    import ray

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    environment = {"py_modules": [str(Path(__file__).parents[1])]}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as Ray advises: it would warn otherwise
    options: dict[str, Any] = {"namespace": NAMESPACE, "runtime_env": environment, "log_to_driver": False}
    options |= {"logging_level": "ERROR", "configure_logging": False}
    if address == "ray":
        options |= {"address": None, "include_dashboard": False} if may_start else {"address": "auto"}
    else:
        options |= {"address": address}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a client that nothing answers; the error says it
            ray.init(**options)  # None starts a cluster where there is none
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        raise UnreachableError(
            f"no Ray cluster answers at {address} ({str(error).strip().splitlines()[0]}); ray start --head starts one,"
            " and one with a token answers only with RAY_AUTH_MODE=token"
        ) from None
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():  # Ray has set its own
            signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def resources_per_task(wanted: Resources) -> Resources:
    """With the defaults for this cluster."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not machines:
        raise MachineError("no machine of the Ray cluster has a CPU to use: ray status shows why")
    gpus = wanted.gpus
    if gpus is None:
        gpus = 1.0 if any(machine.get("GPU") for machine in machines) else 0.0
    able = [machine for machine in machines if machine.get("GPU", 0) >= gpus]
    if not able:
        raise MachineError(f"no machine of the Ray cluster has {gpus:g} GPUs: use fewer with --gpus-per-run")
    cpus = wanted.cpus or min(
        machine["CPU"] // max(1, machine.get("GPU", 0) // gpus if gpus else 1) for machine in able
    )
    if not any(machine["CPU"] >= cpus for machine in able):
        raise MachineError(f"no machine of the Ray cluster has {cpus:g} CPUs: use fewer with --cpus-per-run")
    return Resources(max(1.0, cpus), gpus, _variables(max(1.0, cpus), gpus, with_threads=wanted.cpus is not None))


def _variables(cpus: float, gpus: float, *, with_threads: bool) -> dict[str, str]:
    """So that a task uses no more than its share of a machine. Fewer threads have other bits, so they are asked for."""
    count = str(max(1, round(cpus)))
    names = ["PODIUM_WORKERS", *["TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"] * with_threads]
    variables = dict.fromkeys(names, count)
    if not gpus:
        variables["CUDA_VISIBLE_DEVICES"] = "-1"  # Ray would leave all of them visible
    elif gpus < 1:
        variables["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # TensorFlow would take all memory of a shared GPU
    return variables


def most_at_once(each: Resources) -> int:
    """How many tasks with these resources the machines of the cluster run at the same time."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    by_cpu = [machine.get("CPU", 0) // (each.cpus or 1) for machine in machines]
    by_gpu = [machine.get("GPU", 0) // each.gpus if each.gpus else math.inf for machine in machines]
    return max(1, int(sum(map(min, by_cpu, by_gpu))))


def warm_up(work: Callable[[], object], count: int, each: Resources) -> None:
    """Start the processes of so many tasks, which do this first, while the coordinator's own process starts."""
    import ray

    for _ in range(count):
        ray.remote(_warm_up).options(**each.options, max_retries=0).remote(work)


def _warm_up(work: Callable[[], object]) -> None:
    work()


class Coordinator:
    """The actor. There is one for each storage."""

    def __init__(self) -> None:
        self._states = dict[str, JobState]()
        self._references = dict[str, Any]()
        self._cancelled = set[str]()
        self._lock = threading.Lock()

    def submit(self, name: str, task: Task, work: Any, resources: Resources) -> None:
        """Start a job, unless it is known and has not failed."""
        import ray

        with self._lock:
            if name in self._states and self._states[name].state != "failed":
                return
            me = ray.get_runtime_context().current_actor
            options = ray.remote(_run).options(**resources.options, max_retries=RETRIES)
            reference = options.remote(task, work, name, me)
            self._states[name], self._references[name] = JobState(), reference
            self._cancelled.discard(name)
        threading.Thread(target=self._wait, args=(name, reference), daemon=True).start()

    def _wait(self, name: str, reference: Any) -> None:
        import ray

        kind = ""
        try:
            state: State = "done"
            message = ray.get(reference)
        except Exception as error:
            state, message, kind = "failed", reason_of(error), type(_cause(error)).__name__
        with self._lock:
            self._states[name] = replace(self._states[name], state=state, message=message, error=kind)
            del self._references[name]

    def report(self, name: str, message: str, place: str, history: Sequence[Mapping[str, Any]]) -> bool:
        """Returns whether the job has to stop: a library may have lost the interrupt."""
        with self._lock:
            if name in self._references:
                self._states[name] = JobState("running", message, place, history or self._states[name].history)
        return name in self._cancelled

    def states(self) -> dict[str, JobState]:
        return dict(self._states)

    def cancel(self, names: Iterable[str]) -> None:
        import ray

        for name in set(names) - self._cancelled:  # a second interrupt would end it without a checkpoint
            self._cancelled.add(name)
            if reference := self._references.get(name):
                ray.cancel(reference, force=False)

    def forget(self, names: Iterable[str]) -> bool:
        """Remove jobs that have ended; returns whether any others are left."""
        with self._lock:
            for name in names:
                if name not in self._references:
                    self._states.pop(name, None)
        return bool(self._states)


def reason_of(error: Exception) -> str:
    """Why a task failed, in a line."""
    cause = _cause(error)
    if isinstance(cause, PodiumError | StoppedError):
        return str(cause)
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[-1].strip()}"


def _cause(error: Exception) -> Exception:
    """What the task raised."""
    return getattr(error, "cause", None) or error


def _run(task: Task, work: Any, name: str, coordinator: Any) -> str:
    """On a machine of the cluster."""
    import ray

    place = ray.util.get_node_ip_address()

    def report(message: str, history: Sequence[Mapping[str, Any]]) -> None:
        answer = coordinator.report.remote(name, message, place, history)
        with suppress(ray.exceptions.RayError):  # the coordinator is being started again
            if answer.future().result():  # ray.get would lend this task's CPUs to another one meanwhile
                raise StoppedError("stopped by its command")

    report("started", ())
    return task(work, report)


class CoordinatorEndedError(UnreachableError):
    """It ends with the last of its jobs."""


class Jobs:
    """The jobs of a coordinator, from a process that is connected to its cluster."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    @classmethod
    def start(cls, coordinator: str) -> "Jobs":
        """Start the coordinator of this name, or find it."""
        import ray

        options = {"name": coordinator, "lifetime": "detached", "get_if_exists": True, "max_restarts": -1}
        options |= {"num_cpus": 0, "max_concurrency": 64, "resources": {HEAD: 0.001}}
        return cls(ray.remote(Coordinator).options(**options).remote())

    @classmethod
    def find(cls, coordinator: str) -> "Jobs | None":
        import ray

        try:
            return cls(ray.get_actor(coordinator))
        except ValueError:
            return None

    def submit(self, name: str, task: Task, work: Any, resources: Resources) -> None:
        self._ask("submit", name, task, work, resources)

    def states(self) -> dict[str, JobState]:
        """Of all jobs. A coordinator that was started again knows those only that were submitted since."""
        return dict(self._ask("states"))

    def cancel(self, names: Sequence[str]) -> None:
        self._ask("cancel", names)

    def stop(self, names: Sequence[str]) -> None:
        """Stop these jobs, and wait until they have saved their checkpoints."""
        with suppress(CoordinatorEndedError):  # another process has stopped them
            self.cancel(names)
            end = time.monotonic() + STOP_SECONDS
            while time.monotonic() < end:
                states = self.states()
                if all(name not in states or states[name].state in ("done", "failed") for name in names):
                    break
                time.sleep(POLL_SECONDS)  # that of `retries` ends at once after an interrupt
            self.forget(names)

    def forget(self, names: Sequence[str]) -> None:
        """Remove jobs that have ended, and the coordinator if it has no others."""
        import ray

        if not self._ask("forget", names):
            ray.kill(self._actor, no_restart=True)

    def _ask(self, method: str, *arguments: Any) -> Any:
        """The coordinator may have been lost with its machine: then Ray starts it again on another one."""
        import ray

        end = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return ray.get(getattr(self._actor, method).remote(*arguments), timeout=ANSWER_SECONDS)
            except (ray.exceptions.RayError, ConnectionError) as error:
                is_restarting = isinstance(error, ray.exceptions.ActorUnavailableError)
                if isinstance(error, ray.exceptions.ActorDiedError):
                    raise CoordinatorEndedError(
                        "the jobs were stopped by another process: the same command resumes"
                    ) from None
                if not is_restarting or time.monotonic() > end:
                    raise UnreachableError(
                        f"the Ray cluster does not answer ({type(error).__name__}): the same command resumes"
                    ) from None
            time.sleep(POLL_SECONDS)
