"""The entry point of the packed script, on Kaggle's machine or in a rehearsal.

Kaggle starts the script in the working folder and keeps what is in it at the end as the kernel's output: `runs/`, laid
out as on any machine, and `podium-report.json`, with the results and their paths.
"""

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.console import make_console
from podium.errors import DataError, MachineError
from podium.files import digest_of_file, write_json
from podium.kernel.accelerators import mismatch
from podium.kernel.job import JOB_CHANGES, Job
from podium.kernel.report import REPORT, check_output, find_report, result_files
from podium.options import RunOptions
from podium.paths import kaggle_input, kaggle_places
from podium.runs import versions
from podium.signals import StopCondition, interruptible


def run_job(content: Mapping[str, Any], about: Mapping[str, str], unpacked: Path) -> None:
    """Run the job and write its report. Any failure is an exception.

    `content` is the job, `about` the script's description of itself, `unpacked` the folder with the packed files.
    """
    start = time.perf_counter()
    job = Job.read({**content, **json.loads(os.environ.get(JOB_CHANGES) or "{}")})
    console = make_console()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    options = RunOptions(
        folds=job.folds,
        limit=job.limit,
        limit_test=job.limit_test,
        dry_run=job.dry_run,
        resume=job.resume_from is not None,
        stop_condition=StopCondition(job.time_limit),
        command="the next part of this kernel, with this one as a source",
    )
    describe_machine(about, console)
    if JOB_CHANGES not in os.environ:  # not in a rehearsal
        check_accelerator(job)
    report: dict[str, Any] = {**about, "kind": job.kind, "config": job.config, "attempt": job.attempt}
    try:
        with interruptible():
            restore(job, about["config_digest"], unpacked, options.runs, console)
            report |= import_module(job.workflow).run(job, unpacked / "configs", options, console)
    finally:
        end_processes()
    seconds = round(time.perf_counter() - start, 1)
    report |= {"seconds": seconds, "versions": versions(), "files": result_files(report)}
    write_json(Path(REPORT), report)
    console.print(f"{report['status']} after {seconds:.0f} s: {REPORT}")


def describe_machine(about: Mapping[str, str], console: Console) -> None:
    """Print versions, GPUs and mounted inputs at the beginning of the log."""
    from podium.models.devices import gpu_models

    console.print(f"podium {about['podium']}, commit {about['commit']}: {about['title']}")
    console.print(", ".join(f"{name} {version}" for name, version in versions().items() if name != "commit"))
    console.print(f"GPUs: {', '.join(gpu_models()) or 'none'}; CPU cores: {os.cpu_count()}")
    root = kaggle_input()
    mounted = sorted(
        path.relative_to(root).as_posix() for pattern in ("*", "*/*", "*/*/*") for path in root.glob(pattern)
    )
    console.print(f"{root}: {', '.join(mounted[:12])}{' …' if len(mounted) > 12 else ''}")


def check_accelerator(job: Job) -> None:
    """Fail before anything is computed if Kaggle gave the kernel another machine than it asked for."""
    from podium.models.devices import gpu_models

    if problem := mismatch(job.accelerator, gpu_models()):
        raise MachineError(problem)


def end_processes() -> None:
    """End the worker processes before the script removes the folder with their code."""
    if workers := sys.modules.get("podium.data.workers"):
        workers.end_processes()


def restore(job: Job, config_digest: str, unpacked: Path, runs: Path, console: Console) -> None:
    """Copy the packed folds, boxes and labels to `runs`, then the output of the version to resume from."""
    for name in ("folds", "boxes", "pseudo"):
        if (unpacked / name).is_dir():
            shutil.copytree(unpacked / name, runs / name, dirs_exist_ok=True)
    if job.resume_from is None:
        return
    folders = kaggle_places("kernel", job.resume_from)
    previous = next((folder for folder in folders if (folder / "runs").is_dir()), None)
    if previous is None:
        raise DataError(
            f"the output of {job.resume_from}, to resume from, is not mounted: looked for runs in"
            f" {' and '.join(map(str, folders))}; push this kernel again"
        )
    report = find_report(previous)
    if report is None or report.config_digest != config_digest:
        raise DataError(
            f"{previous} is the output of {job.resume_from} for another config"
            f" ({report.config if report else 'it has no report'}); attach the version to resume from"
        )
    if job.resume_digest and (found := digest_of_file(previous / REPORT)) != job.resume_digest:
        raise DataError(
            f"{previous} is not the version of {job.resume_from} to resume from: its {REPORT} has the digest {found},"
            f" expected {job.resume_digest}; push this kernel again"
        )
    check_output(previous, report)
    # Kaggle may mount read-only files; the copies get the usual permissions.
    shutil.copytree(previous / "runs", runs, dirs_exist_ok=True, copy_function=shutil.copyfile)
    console.print(f"resuming from {previous}", highlight=False)
