"""A fleet: one kernel per member and fold, driven by a queue on disk in runs/fleets/<ensemble>-<digest>.

Its queue.json says how its kernels are built, and of every job its state, part, attempt and version.

Each step is saved before it is executed, so a kill at any moment loses nothing: a push that may have reached Kaggle is
looked up there before it is repeated.

A kernel that runs out of time continues in a kernel of its own, the next part, which attaches the output of the part
before. Kaggle attaches the newest output of a kernel and no other, so no part gets another version once its output is
the state to resume from.
"""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, TypeAdapter, model_validator
from rich.console import Console

from podium.config.kaggle_names import KernelRef
from podium.errors import (
    ConfigError,
    CredentialsError,
    ForbiddenError,
    InUseError,
    KaggleError,
    NotFoundError,
    PodiumError,
    RateLimitedError,
    RunError,
    UnreachableError,
)
from podium.files import digest_of, digest_of_file, parse_json
from podium.jobs.queue import Queue, QueuedJob, State
from podium.kaggle.client import Kaggle
from podium.kaggle.outputs import describe_failure, pull
from podium.kaggle.pushing import (
    CHECKS,
    MIN_HOURS,
    NO_HOURS,
    SESSIONS,
    find_push,
    hours_left,
    is_out_of_gpus,
    limit_to,
    newest_version,
    preflight,
    push,
    session_seconds,
)
from podium.kaggle.records import Record, import_runs, read_record
from podium.kaggle.responses import KernelStatus, page_of
from podium.kernel.building import KernelBuilder, folds_and_labels, jobs_of_folds
from podium.kernel.job import Job, Model, digest_of_job, load_config
from podium.kernel.metadata import Machine
from podium.kernel.report import REPORT, Report, check_output, read_report
from podium.kernel.script import READABLE, Packing
from podium.locks import lock_holder
from podium.signals import format_duration


class ConfigChangedError(RunError):
    """The jobs that are left would train with other settings than the first ones."""


MAX_FAILURES = 2
"""Of a job in a row. A kernel that runs out of time has not failed as long as each part makes progress."""
LOOKS = 20
"""Number of rounds in which Kaggle's answers about a kernel may make no sense: it lists outputs late, or in part."""


class FleetJob(QueuedJob):
    """A member on one fold, or a detector, with all versions of its kernel."""

    spec: Job
    """The job of its kernel."""
    config_digest: str = ""
    """Of everything that determines the training."""
    failures: int = 0
    checks: int = 0
    """The rounds so far in which a push was not found, or Kaggle's answers made no sense."""
    kernel: str | None = None
    """owner/slug of the push in progress, or of the last one."""
    script_digest: str = ""
    """Of that push."""
    ends: float = 0.0
    """When its session ends at the latest, in seconds since 1970."""
    ref: str | None = None
    """The pushed version."""
    source: str | None = None
    """The version whose output has the checkpoint to resume from."""
    progress: list[int] = Field(default_factory=list)
    """How far that version came."""

    @model_validator(mode="after")
    def _has_been_pushed(self) -> Self:
        names = {"pushing": [self.kernel], "running": [self.kernel, self.ref], "done": [self.ref]}.get(self.state, [])
        for name in names:
            KernelRef.parse(name or "")
        return self

    @property
    def name(self) -> str:
        folds = [f"fold {fold}" for fold in self.spec.folds]
        return " ".join([*(self.spec.members or [Path(self.spec.config).stem]), *folds])

    @property
    def place(self) -> str:
        return self.ref or ""

    @property
    def page(self) -> str:
        assert self.kernel
        return page_of(KernelRef.parse(self.kernel))

    def output(self, runs: Path) -> Path:
        """The folder with the downloaded output of its kernel."""
        assert self.ref
        return read_record(runs, KernelRef.parse(self.ref)).output

    def set(self, state: State, message: str = "") -> None:
        super().set(state, message)
        self.checks = 0

    def fail(self, reason: str) -> None:
        """Push it again, once."""
        self.failures += 1
        if self.failures >= MAX_FAILURES:
            self.give_up(reason)
            return
        self.set("queued", f"failed: {reason}; retrying once")
        self.spec = self.spec.model_copy(update={"attempt": self.spec.attempt + 1})

    def give_up(self, reason: str) -> None:
        """Do not push it again until `podium fleet up` asks for it."""
        self.set("failed", reason)
        self.spec = self.spec.model_copy(update={"attempt": self.spec.attempt + 1})

    def look_again(self, error: PodiumError) -> None:
        """Kaggle's answers make no sense, which may pass; if not, other jobs are not affected."""
        self.checks += 1
        if self.checks < LOOKS:
            self.message = f"{error}; looking again"
        elif self.state == "pushing" or isinstance(error, NotFoundError | ForbiddenError):
            self.give_up(f"{error}; podium fleet up pushes it again")
        else:
            self.fail(str(error))


@dataclass
class Fleet(Queue[FleetJob]):
    machine: Machine
    packing: Packing

    def builder(self, owner: str, runs: Path) -> KernelBuilder:
        return KernelBuilder([self.config], self.machine, runs, owner, self.packing)

    def shared(self) -> dict[str, Any]:
        return {"machine": asdict(self.machine), "packing": asdict(self.packing)}

    def start(self) -> None:
        for job in self.jobs:
            job.failures *= job.state != "failed"
        super().start()


def open_fleet(config: Path, job: Job, machine: Machine, runs: Path, packing: Packing = READABLE) -> Fleet:
    """The fleet of an ensemble or a detector with these options: the existing one, or a new one.

    Another machine, packing or time limit does not create a new fleet; it applies from the next push. Jobs of other
    fleets whose member has not changed become part of this fleet.
    """
    loaded = load_config(config, job.overrides, job.seed)
    jobs = [
        FleetJob(spec=spec, config_digest=_digest_of(spec, spec.models_of(loaded), runs))
        for spec in jobs_of_folds(config, job)
    ]
    digest = digest_of([loaded.settings.model_dump(mode="json"), [fleet_job.config_digest for fleet_job in jobs]])
    fleet = Fleet(runs / "fleets" / f"{config.stem}-{digest}", config, jobs, machine, packing)
    if (fleet.folder / "queue.json").exists():
        read_fleet(fleet.folder)  # an error if it is damaged: without it all kernels would be pushed again
    others, _ = read_fleets(runs)
    known = {fleet_job.config_digest: fleet_job for other in others for fleet_job in other.jobs if fleet_job.kernel}
    known |= {
        fleet_job.config_digest: fleet_job
        for other in others
        if other.folder == fleet.folder
        for fleet_job in other.jobs
    }
    fleet.jobs = [known.get(fleet_job.config_digest, fleet_job) for fleet_job in jobs]
    for fleet_job in fleet.jobs:
        fleet_job.spec = fleet_job.spec.model_copy(update={"time_limit": job.time_limit})
    return fleet


def _digest_of(spec: Job, models: tuple[Model, ...], runs: Path) -> str:
    """As that of its kernel."""
    folds, labels = folds_and_labels(models, runs)
    return digest_of_job(spec, models, None, {f"folds/{name}": text for name, text in folds.items()} | labels)


def claim_jobs(fleet: Fleet, runs: Path) -> None:
    """Save the fleet, then remove its jobs from other fleets: only one fleet may push versions of a kernel."""
    others = [other for other in read_fleets(runs)[0] if other.folder != fleet.folder]
    own = {job.config_digest for job in fleet.jobs}
    for other in others:
        holder = lock_holder(other.folder)
        if holder and own & {job.config_digest for job in other.jobs}:
            raise RunError(
                f"{other.folder} is another fleet with the same jobs, and in use ({holder}); stop it first: its kernels"
                " keep running and become part of this fleet"
            )
    fleet.save()
    for other in others:
        remaining = [job for job in other.jobs if job.config_digest not in own]
        if len(remaining) < len(other.jobs):
            other.jobs = remaining
            other.save()


_MACHINE, _PACKING = TypeAdapter(Machine), TypeAdapter(Packing)


def read_fleet(folder: Path) -> Fleet:
    try:
        content = parse_json((folder / "queue.json").read_text(encoding="utf-8"))
        jobs = [FleetJob.model_validate_json(json.dumps(job)) for job in content["jobs"]]
        machine, packing = _MACHINE.validate_python(content["machine"]), _PACKING.validate_python(content["packing"])
        return Fleet(folder, Path(content["config"]), jobs, machine, packing)
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise RunError(
            f"{folder / 'queue.json'} cannot be read ({type(error).__name__}): restore a copy of it; without it podium"
            " would push all its kernels again (podium kernel status lists what was pushed)"
        ) from None


def read_fleets(runs: Path) -> tuple[list[Fleet], list[str]]:
    """All fleets in `runs`, and the problems of queues that cannot be read."""
    found, problems = list[Fleet](), list[str]()
    for path in sorted((runs / "fleets").glob("*/queue.json")):
        try:
            found.append(read_fleet(path.parent))
        except RunError as error:
            problems.append(str(error))
    return found, problems


def check_members(fleet: Fleet, kaggle: Kaggle, runs: Path) -> None:
    """Raise an error for what would fail all kernels of a member, before the first kernel of a fleet is pushed."""
    if any(job.kernel for job in fleet.jobs):
        return
    for spec in {job.spec.members: job.spec for job in fleet.jobs}.values():
        preflight(kaggle, fleet.builder(kaggle.user, runs).assemble(spec), Console(quiet=True))


# One round


def advance(fleet: Fleet, kaggle: Kaggle, runs: Path) -> None:
    """One round: look for interrupted pushes, check the running kernels, push the next ones.

    The trouble of one job never stops the others. A rate limit ends the round, and missing credentials the fleet.
    """
    for job in fleet.jobs:
        try:
            if job.state == "pushing":
                find_interrupted(job, kaggle, runs)
            elif job.state == "running":
                check_running(job, kaggle, runs)
        except CredentialsError:
            raise
        except UnreachableError as error:
            _wait_for_kaggle(job, error)
        except InUseError as error:
            job.message = f"complete; waiting, as {error}"
        except (KaggleError, RunError) as error:
            job.look_again(error)
        finally:
            fleet.save()
    push_queued(fleet, kaggle, runs)


def _wait_for_kaggle(job: FleetJob, error: UnreachableError) -> None:
    if isinstance(error, RateLimitedError):
        job.message = str(error)
        raise error
    job.message = f"Kaggle is unreachable; retrying soon: {error}"


def find_interrupted(job: FleetJob, kaggle: Kaggle, runs: Path) -> None:
    """Whether an interrupted push reached Kaggle."""
    assert job.kernel
    record = find_push(kaggle, KernelRef.parse(job.kernel), job.script_digest, runs)
    job.checks += 1
    if record:
        _set_running(job, record)
    elif job.checks >= CHECKS:
        job.set("queued", "the interrupted push never reached Kaggle")


def check_running(job: FleetJob, kaggle: Kaggle, runs: Path) -> None:
    """Update the state of a pushed version; if it is finished, download its output."""
    assert job.ref
    record = read_record(runs, KernelRef.parse(job.ref))
    status = kaggle.kernel_status(record.ref)
    if not status.is_over:
        job.set("running", status.state)
    elif status.state == "cancelled":
        job.give_up("cancelled on Kaggle; podium fleet up pushes it again")
    elif status.state != "complete":
        _fail(job, record, status, kaggle)
    else:
        _download(job, record, kaggle, runs)


def _fail(job: FleetJob, record: Record, status: KernelStatus, kaggle: Kaggle) -> None:
    """The kernel failed. Kaggle may store its log, which has the cause, some time later."""
    lines: list[str] = []
    with suppress(NotFoundError, ForbiddenError):
        lines = kaggle.log(record.ref)
    job.checks += 1
    if lines or job.checks > CHECKS:
        job.fail(describe_failure(status, lines))
    else:
        job.message = f"{describe_failure(status, lines)}; waiting for its log"


def _download(job: FleetJob, record: Record, kaggle: Kaggle, runs: Path) -> None:
    """Download the output of a complete version. Raises an error if Kaggle does not list all of it."""
    pull(kaggle, record.ref, record.output, Console(quiet=True), looks=1)
    report = read_report(record.output)
    check_output(record.output, report)
    if report.status == "stopped":
        _continue_in_next_part(job, report, record)
    else:
        import_runs(record, runs)
        job.set("done", ", ".join(entry.score for entry in report.runs))


def _continue_in_next_part(job: FleetJob, report: Report, record: Record) -> None:
    """The version ran out of time. What was downloaded is the state to resume from, and Kaggle has it too."""
    if not any(report.progress) or report.progress <= job.progress:
        job.fail(f"no progress: {report.reason}")
        return
    digest, part = digest_of_file(record.output / REPORT), job.spec.part + 1
    resume = {"part": part, "resume_from": record.ref.name, "resume_digest": digest}
    job.spec = job.spec.model_copy(update={**resume, "attempt": job.spec.attempt + 1})
    job.source, job.progress, job.failures = str(record.ref), report.progress, 0
    job.set("queued", f"out of time at {_position(report)}; continues in part {part}")


def _position(report: Report) -> str:
    state = report.runs[0].state if report.runs else {}
    if state.get("stage") is None:
        return "the beginning"
    return f"stage {state['stage']}, epoch {(state.get('epoch') or 0) + 1}, step {state.get('step') or 0}"


def push_queued(fleet: Fleet, kaggle: Kaggle, runs: Path) -> None:
    """Push queued jobs as long as a session and GPU hours are free."""
    for job in fleet.jobs:
        active = [other for other in fleet.jobs if other.state in ("pushing", "running")]
        if len(active) >= SESSIONS or fleet.is_stopped:
            return
        if job.state != "queued":
            continue
        try:
            hours = hours_for_next(fleet, kaggle, active)
            if hours is not None and hours < MIN_HOURS:
                besides = " besides those of running kernels" if active else NO_HOURS * (hours <= 0)
                job.message = f"waiting for GPU hours: {max(0.0, hours):.1f} left this week{besides}"
                return
            push_next(job, fleet, kaggle, runs, hours)
        except (CredentialsError, ConfigChangedError):
            raise
        except UnreachableError as error:
            if isinstance(error, RateLimitedError):  # nothing was pushed
                job.state = "queued"
            _wait_for_kaggle(job, error)
            return
        except PodiumError as error:
            if is_out_of_gpus(error):
                job.set("queued", "waiting for a free GPU session")
                return
            job.fail(str(error))
        finally:
            fleet.save()


def hours_for_next(fleet: Fleet, kaggle: Kaggle, active: list[FleetJob]) -> float | None:
    """This week's GPU hours that no session will take; None without a GPU, or if Kaggle does not say."""
    quota = kaggle.gpu_quota() if fleet.machine.gpu != "none" else None
    planned = sum(max(0.0, job.ends - time.time()) for job in active)
    return None if quota is None else hours_left(quota, planned / 3600)


def check_source(job: FleetJob, kaggle: Kaggle, runs: Path) -> None:
    """Raise an error if Kaggle would attach another output than the one to resume from."""
    if job.source is None:
        return
    source = KernelRef.parse(job.source)
    newest = newest_version(kaggle, KernelRef(source.owner, source.slug))
    if newest == source.version:
        return
    found = f"has version {newest} now" if newest else "is gone"
    if newest or job.failures:  # otherwise look once more
        job.spec = job.spec.model_copy(update={"part": 1, "resume_from": None, "resume_digest": ""})
        job.source, job.progress, job.failures = None, [], MAX_FAILURES
    raise KaggleError(
        f"{source.name} {found}, so Kaggle cannot attach the checkpoint of version {source.version}: continue on this"
        f" machine from {read_record(runs, source).output}, or run podium fleet up again to start this job from scratch"
    )


def push_next(job: FleetJob, fleet: Fleet, kaggle: Kaggle, runs: Path, hours: float | None) -> None:
    """Push the job's next version. Everything needed to find it again is saved before."""
    check_source(job, kaggle, runs)
    spec = job.spec if hours is None else limit_to(hours, job.spec)
    built = fleet.builder(kaggle.user, runs).assemble(spec)
    if built.bundle.config_digest != job.config_digest:
        raise ConfigChangedError(
            f"{fleet.config} or a file that it uses has changed since the fleet began: its kernels keep running; run"
            " podium fleet up again for the new settings, or after restoring the old ones"
        )
    if job.ref is None:
        preflight(kaggle, built, Console(quiet=True))
    reason = "" if job.message.startswith(("waiting", "Kaggle")) else job.message
    if spec.time_limit < job.spec.time_limit:
        limit = f"limited to {format_duration(spec.time_limit)} by this week's GPU hours"
        reason = "; ".join(filter(None, [reason, limit]))
    job.kernel, job.script_digest = built.ref.name, built.bundle.digest
    job.ends = time.time() + session_seconds(spec)
    job.set("pushing", reason)
    fleet.save()
    _set_running(job, push(kaggle, built, runs))


def _set_running(job: FleetJob, record: Record) -> None:
    job.ref = str(record.ref)
    job.set("running", "; ".join(filter(None, [job.message, "pushed"])))  # after the reason for the new version
