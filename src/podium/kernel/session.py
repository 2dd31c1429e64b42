"""What every packed script does around its own work: says what the machine is, takes up what was before, reports.

The working folder is where Kaggle starts a script, and all that is in it at the end is the kernel's output: `runs/` as
podium makes it anywhere, and `podium-report.json`, which says what is done and where it lies.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.errors import DataError
from podium.files import write_json
from podium.kernel.job import Job
from podium.kernel.report import REPORT, find_report
from podium.options import RunOptions
from podium.paths import kaggle_input, kaggle_places
from podium.runs import versions
from podium.signals import StopCondition, interruptible

OVERRIDING = "PODIUM_REHEARSAL"
"""JSON with fields of the job that a rehearsal makes smaller."""


@dataclass(frozen=True)
class Session:
    """A job in its kernel."""

    job: Job
    about: Mapping[str, str]
    """What the script says of itself."""
    unpacked: Path
    """The folder of what the script packs: the configs, and tables that travel with them."""
    stop_condition: StopCondition
    console: Console

    @property
    def config(self) -> Path:
        return self.unpacked / "configs" / self.job.config

    @property
    def overrides(self) -> tuple[str, ...]:
        return self.job.overrides_among(self.unpacked / "configs")

    @property
    def options(self) -> RunOptions:
        job = self.job
        return RunOptions(
            folds=job.folds,
            limit=job.limit,
            limit_test=job.limit_test,
            dry_run=job.dry_run,
            resume=job.goes_on_from is not None,
            stop_condition=self.stop_condition,
            command="the next version of this kernel, with this one as a source",
        )


Work = Callable[[Session], dict[str, Any]]
"""Does the job, and gives the rest of the report. A stop for lack of time is told there and is no failure."""


def do_job(content: Mapping[str, Any], about: Mapping[str, str], unpacked: Path, work: Work) -> None:
    """Do the job and report it; every failure is an exception."""
    job = Job.read({**content, **json.loads(os.environ.get(OVERRIDING) or "{}")})
    began = time.perf_counter()
    console = Console(highlight=False, soft_wrap=True, width=160)
    session = Session(job, about, unpacked, StopCondition(job.time_limit), console)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    describe(about, console)
    report: dict[str, Any] = {**about, "kind": job.kind, "config": job.config, "attempt": job.attempt}
    with interruptible():
        report |= work(session)
    seconds = round(time.perf_counter() - began, 1)
    write_json(Path(REPORT), {**report, "seconds": seconds, "versions": versions()})
    console.print(f"{report['status']} after {seconds:.0f} s: {REPORT}")


def describe(about: Mapping[str, str], console: Console) -> None:
    """What this machine is, as a person looks for in a log first."""
    from podium.models.devices import names_of_gpus

    console.print(f"podium {about['podium']}, commit {about['commit']}: {about['title']}")
    console.print(", ".join(f"{name} {version}" for name, version in versions().items() if name != "commit"))
    console.print(f"GPUs: {', '.join(names_of_gpus()) or 'none'}; processors: {os.cpu_count()}")
    root = kaggle_input()
    mounted = sorted(
        path.relative_to(root).as_posix() for pattern in ("*", "*/*", "*/*/*") for path in root.glob(pattern)
    )
    console.print(f"{root}: {', '.join(mounted[:12])}{' …' if len(mounted) > 12 else ''}")


def take_up(job: Job, about: Mapping[str, str], unpacked: Path, runs: Path, console: Console) -> None:
    """What travelled in the script for `runs/`, then what the version before left, into the working folder."""
    for name in ("folds", "boxes"):
        if (unpacked / name).is_dir():
            shutil.copytree(unpacked / name, runs / name, dirs_exist_ok=True)
    if job.goes_on_from is None:
        return
    places = kaggle_places("kernel", job.goes_on_from)
    for place in places:
        if (place / "runs").is_dir():
            before = find_report(place)
            if before is None or before.config_digest != about["config_digest"]:
                raise DataError(
                    f"{place} is what {job.goes_on_from} left of another config"
                    f" ({before.config if before else 'without a report'}); attach the version to go on from"
                )
            # A copy with the writer's own rights: what Kaggle mounts may be read-only, file by file.
            shutil.copytree(place / "runs", runs, dirs_exist_ok=True, copy_function=shutil.copyfile)
            console.print(f"going on from {place}", highlight=False)
            return
    raise DataError(
        f"the output of {job.goes_on_from}, to go on from, is not mounted: looked for runs in"
        f" {' and '.join(map(str, places))}; attach that kernel as a source"
    )


def entry_of(name: str, fold: int, run: Any, predictions: Path | None = None) -> dict[str, Any]:
    """What the report says of one training."""
    return {
        "member": name,
        "fold": fold,
        "run": run.path.as_posix(),
        "predictions": predictions.as_posix() if predictions else None,
        "state": run.state,
    }
