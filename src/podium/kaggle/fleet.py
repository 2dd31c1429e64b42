"""The fleet: one kernel a member and fold, driven by a queue on disk.

runs/fleets/<ensemble>-<digest>/
  queue.json                  every kernel: where it stands, which attempt, which version
  <kernel>-<attempt>.py       the script of a push that is about to be made, or was

Each step is written down before it is taken, so a kill at any moment costs nothing: what was being pushed is looked for
at Kaggle before it is pushed again.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from podium.config.kaggle_names import KernelRef
from podium.errors import KaggleError, NotFoundError, RunError, UnreachableError
from podium.files import digest_of, write_json, write_text
from podium.kaggle.client import Kaggle
from podium.kaggle.outputs import pull
from podium.kaggle.pushing import facts_of, newest_version, preflight, session_seconds, version_with
from podium.kaggle.records import Record, bring_home, note_push, record_of
from podium.kernel.building import assemble, jobs_of_folds
from podium.kernel.job import SPARE_MINUTES, Job, digest_of_job, load_config
from podium.kernel.metadata import Machine
from podium.kernel.report import REPORT, Report, read_report
from podium.locks import lock_holder

State = Literal["waiting", "pushing", "going", "home", "failed"]
SESSIONS = 2
"""GPU sessions that Kaggle gives one person at a time."""
LEAST_HOURS = 0.5
"""Of the weekly ones; with fewer left no kernel is begun."""
TRIES = 2
"""Of a kernel that fails. One that only runs into its time limit may go on as long as it gets further."""
LOOKS = 2
"""For a push that was broken off, a round apart, before it is made again: Kaggle may still be taking it in."""
_LINES = 5


class Kernel(BaseModel):
    """One kernel of the fleet: a member on a fold, or a detector, through all its versions."""

    model_config = ConfigDict(extra="forbid")

    job: Job
    made_of: str = ""
    """A digest of all that decides what it trains."""
    state: State = "waiting"
    failures: int = 0
    version_before: int = 0
    """The newest version there was before the push under way."""
    looks: int = 0
    facts: dict[str, Any] = {}
    """Of the push under way or made: what its record will say."""
    ref: str | None = None
    """With the version, once it is pushed."""
    reached: list[Any] = []
    """How far the version before came."""
    told: str = ""

    @property
    def name(self) -> str:
        folds = [f"fold {fold}" for fold in self.job.folds]
        return " ".join([*(self.job.members or [Path(self.job.config).stem]), *folds])

    def fail(self, why: str) -> None:
        self.failures += 1
        self.state = "waiting" if self.failures < TRIES else "failed"
        self.told = f"failed: {why}" + ("; once more" if self.state == "waiting" else "")
        self.job = self.job.model_copy(update={"attempt": self.job.attempt + 1})


@dataclass
class Fleet:
    folder: Path
    config: Path
    machine: Machine
    kernels: list[Kernel]

    @property
    def is_over(self) -> bool:
        return all(kernel.state in ("home", "failed") for kernel in self.kernels)

    @property
    def is_home(self) -> bool:
        return all(kernel.state == "home" for kernel in self.kernels)

    @property
    def is_called_back(self) -> bool:
        return self._mark.exists()

    @property
    def _mark(self) -> Path:
        return self.folder / "down"

    def call_back(self) -> None:
        """Push no more; whoever drives the fleet sees it at the next round."""
        self._mark.touch()

    def send_out(self) -> None:
        """Go on, also with what had failed before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._mark.unlink(missing_ok=True)
        for kernel in self.kernels:
            if kernel.state == "failed":
                kernel.state, kernel.failures = "waiting", 0
        self.save()

    def save(self) -> None:
        kernels = [kernel.model_dump(mode="json") for kernel in self.kernels]
        machine = {"gpu": self.machine.gpu, "internet": self.machine.internet}
        write_json(self.folder / "queue.json", {"config": str(self.config), "machine": machine, "kernels": kernels})


def fleet_of(config: Path, job: Job, machine: Machine, runs: Path) -> Fleet:
    """The fleet of an ensemble, or of a detector, with these wishes: the one that was sent out before, or a new one.

    Machines and time limits make no other fleet; those asked for last hold from the next push on. A kernel that another
    fleet has sent out already, for a member that has not changed since, changes over to this one.
    """
    loaded = load_config(config, job.overrides, job.seed)
    wanted = [
        Kernel(job=one, made_of=digest_of_job(one, one.models_of(loaded), None)) for one in jobs_of_folds(config, job)
    ]
    digest = digest_of([loaded.settings.model_dump(mode="json"), [kernel.made_of for kernel in wanted]])
    fleet = Fleet(runs / "fleets" / f"{config.stem}-{digest}", config, machine, wanted)
    others, _ = fleets(runs)
    known = {kernel.made_of: kernel for other in others for kernel in other.kernels if kernel.state != "waiting"}
    known |= {kernel.made_of: kernel for other in others if other.folder == fleet.folder for kernel in other.kernels}
    fleet.kernels = [known.get(kernel.made_of, kernel) for kernel in wanted]
    for kernel in fleet.kernels:
        kernel.job = kernel.job.model_copy(update={"time_limit": job.time_limit})
    return fleet


def take_over(fleet: Fleet, runs: Path) -> None:
    """Save the fleet, then let go of its kernels where they stood before: one fleet alone may push a kernel's next."""
    others = [other for other in fleets(runs)[0] if other.folder != fleet.folder]
    mine = {kernel.made_of for kernel in fleet.kernels}
    for other in others:
        holder = lock_holder(other.folder)
        if holder and mine & {kernel.made_of for kernel in other.kernels}:
            raise RunError(
                f"{other.folder} is another fleet with the same kernels, and under way ({holder}); stop that one first:"
                " its kernels go on, and change over to this one"
            )
    fleet.save()
    for other in others:
        kept = [kernel for kernel in other.kernels if kernel.made_of not in mine]
        if len(kept) < len(other.kernels):
            other.kernels = kept
            other.save()


def read_fleet(folder: Path) -> Fleet:
    try:
        content = json.loads((folder / "queue.json").read_text(encoding="utf-8"))
        kernels = [Kernel.model_validate_json(json.dumps(one)) for one in content["kernels"]]
        return Fleet(folder, Path(content["config"]), Machine(**content["machine"]), kernels)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{folder / 'queue.json'} cannot be read ({type(error).__name__}): put back a copy of it; without it podium"
            " would push all its kernels again (podium kernel status names what was pushed)"
        ) from None


def fleets(runs: Path) -> tuple[list[Fleet], list[str]]:
    """All that were sent out from here, and what is wrong with the queues that cannot be read."""
    found, problems = list[Fleet](), list[str]()
    for path in sorted((runs / "fleets").glob("*/queue.json")):
        try:
            found.append(read_fleet(path.parent))
        except RunError as error:
            problems.append(str(error))
    return found, problems


def advance(fleet: Fleet, kaggle: Kaggle, runs: Path) -> None:
    """One round: look for what was being pushed, look after what is going, begin what there is room for."""
    for kernel in fleet.kernels:
        try:
            if kernel.state == "pushing":
                find_pushed(kernel, fleet, kaggle, runs)
            elif kernel.state == "going":
                look_after(kernel, kaggle, runs)
        except NotFoundError as error:  # taken away at Kaggle; the others are not touched by that
            kernel.fail(str(error))
        except UnreachableError as error:
            kernel.told = f"Kaggle does not answer, asked again soon: {error}"
        fleet.save()
    begin_what_fits(fleet, kaggle, runs)


def begin_what_fits(fleet: Fleet, kaggle: Kaggle, runs: Path) -> None:
    for kernel in fleet.kernels:
        busy = sum(one.state in ("pushing", "going") for one in fleet.kernels)
        if busy >= SESSIONS:
            return
        if kernel.state != "waiting" or fleet.is_called_back:
            continue
        try:
            hours = hours_left(kaggle) if fleet.machine.gpu != "none" else None
            if hours is not None and hours < LEAST_HOURS:
                kernel.told = f"waits for GPU hours: {hours:.1f} are left this week"
                return
            begin(kernel, fleet, kaggle, runs, hours)
        except UnreachableError as error:
            kernel.told = f"Kaggle does not answer, asked again soon: {error}"
            return
        finally:
            fleet.save()
        if kernel.state == "waiting":  # Kaggle has no session free
            return


def hours_left(kaggle: Kaggle) -> float | None:
    """Less what the sessions under way have reserved."""
    quota = kaggle.gpu_quota()
    return None if quota is None else quota.hours_left - quota.hours_reserved


def begin(kernel: Kernel, fleet: Fleet, kaggle: Kaggle, runs: Path, hours: float | None) -> None:
    """Push the next version. All that is needed to find it again is on the disk before it is sent."""
    job = kernel.job
    if hours is not None:
        job = job.model_copy(update={"time_limit": min(job.time_limit, hours * 3600 - SPARE_MINUTES * 60)})
    built = assemble([fleet.config], job, fleet.machine, runs, kaggle.user)
    if kernel.ref is None:
        preflight(kaggle, built, Console(quiet=True))
    kernel.version_before, kernel.looks = newest_version(kaggle, built.ref), 0
    kernel.facts = facts_of(built)
    write_text(script_of(kernel, fleet), built.bundle.text)
    kernel.state = "pushing"
    fleet.save()
    try:
        pushed = kaggle.push(built.metadata, built.bundle.text, session_seconds(job))
    except UnreachableError:
        raise
    except KaggleError as error:
        kernel.state = "waiting"
        if "session count" not in str(error).lower():
            raise
        kernel.told = "waits for a free GPU session"
        return
    note_going(kernel, fleet, runs, pushed.ref, pushed.url)


def script_of(kernel: Kernel, fleet: Fleet) -> Path:
    return fleet.folder / f"{kernel.job.title}-{kernel.job.attempt}.py"


def note_going(kernel: Kernel, fleet: Fleet, runs: Path, ref: KernelRef, url: str) -> None:
    note_push(runs, kernel.facts, script_of(kernel, fleet).read_text(encoding="utf-8"), ref, url)
    kernel.state, kernel.ref = "going", str(ref)
    kernel.told = "; ".join(filter(None, [kernel.told, "pushed"]))  # after why the version before was not the last


def find_pushed(kernel: Kernel, fleet: Fleet, kaggle: Kaggle, runs: Path) -> None:
    """Whether a push that was broken off came through."""
    ref = KernelRef.parse(kernel.facts["metadata"]["id"])
    text = script_of(kernel, fleet).read_text(encoding="utf-8")
    version = version_with(kaggle, ref, text, after=kernel.version_before)
    kernel.looks += 1
    if version is not None:
        note_going(kernel, fleet, runs, ref.at(version), f"https://www.kaggle.com/code/{ref.name}")
    elif kernel.looks >= LOOKS:
        kernel.state, kernel.told = "waiting", "a push that was broken off did not come through"


def look_after(kernel: Kernel, kaggle: Kaggle, runs: Path) -> None:
    """What became of the version that is going; when it is over, its outputs come home."""
    assert kernel.ref
    record = record_of(runs, KernelRef.parse(kernel.ref))
    status = kaggle.kernel_status(record.ref)
    if not status.is_over:
        kernel.told = status.state
        return
    if status.state != "complete":
        last = [line for line in kaggle.log(record.ref) if line.strip()][-_LINES:]
        kernel.fail(status.failure or (last[-1].strip() if last else status.state))
        return
    report = fetch_report(kaggle, record)
    if report is None:
        kernel.fail(f"{record.ref} left no {REPORT}")
    elif report.status == "stopped":
        go_on(kernel, report, record.ref)
    else:
        pull(kaggle, record.ref, record.output, Console(quiet=True))
        bring_home(record, runs)
        kernel.state, kernel.told = "home", ", ".join(entry.score for entry in report.runs)


def fetch_report(kaggle: Kaggle, record: Record) -> Report | None:
    """The last thing a script writes, ahead of all the rest: it says whether the rest is wanted."""
    listed = next((file for file in kaggle.output_files(record.ref) if file.name == REPORT), None)
    if listed is None:
        return None
    kaggle.fetch(listed, record.folder / REPORT)
    return read_report(record.folder)


def go_on(kernel: Kernel, report: Report, ref: KernelRef) -> None:
    """Out of time, with its states in its output: the next version attaches this one."""
    reached = [[entry.state.get(key) for key in ("status", "stage", "epoch", "step")] for entry in report.runs]
    if reached == kernel.reached:
        kernel.fail(f"no step further than the version before: {report.reason}")
        return
    job = kernel.job
    kernel.job = job.model_copy(update={"attempt": job.attempt + 1, "resume_from": ref.name})
    kernel.reached, kernel.state = reached, "waiting"
    kernel.told = f"out of time at {spell_reached(reached)}; goes on"


def spell_reached(reached: list[Any]) -> str:
    _, stage, epoch, step = reached[0]
    return "its beginning" if stage is None else f"stage {stage}, epoch {(epoch or 0) + 1}, step {step or 0}"
