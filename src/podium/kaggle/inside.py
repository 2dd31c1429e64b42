"""What the packed script runs, on Kaggle's machine or in a rehearsal: one job, from the mounted inputs to its report.

The working folder is where Kaggle starts a script, and all that is in it at the end is the kernel's output: `runs/` as
`podium run` makes it anywhere, and `podium-report.json`, which says what is done and where it lies.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.loading import Ensemble
from podium.errors import DataError, StoppedError
from podium.files import write_json
from podium.kaggle.job import Job, load_config
from podium.kaggle.report import REPORT, find_report
from podium.paths import kaggle_input, kaggle_places
from podium.runs import versions
from podium.stopping import Stopping, interruptible

if TYPE_CHECKING:
    from podium.steps.choices import Choices
    from podium.steps.member import FoldRun

SAMPLE = "sample-submission.csv"
"""A copy of it, so that blending at home needs nothing of the competition's data."""
CODE_SUBMISSION = "submission.csv"
"""What code competitions take from a kernel's output."""
OVERRIDING = "PODIUM_REHEARSAL"
"""JSON with fields of the job that a rehearsal makes smaller."""


def run_job(content: Mapping[str, Any], about: Mapping[str, str], unpacked: Path) -> None:
    """Do the job. A stop for lack of time is told in the report and is no failure; every failure is an exception."""
    job = Job.read({**content, **json.loads(os.environ.get(OVERRIDING) or "{}")})
    began, stopping, console = (
        time.perf_counter(),
        Stopping(job.time_limit),
        Console(highlight=False, soft_wrap=True, width=160),
    )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    describe(about, console)
    report: dict[str, Any] = {**about, "kind": job.kind, "config": job.config, "attempt": job.attempt}
    with interruptible():
        if job.kind == "weights":
            from podium.kaggle.pretrained import keep_weights

            report |= {"status": "done", "weights": keep_weights(job, unpacked / "configs", console)}
        else:
            report |= train(job, about, unpacked, stopping, console)
    seconds = round(time.perf_counter() - began, 1)
    write_json(Path(REPORT), {**report, "seconds": seconds, "versions": versions()})
    console.print(f"{report['status']} after {seconds:.0f} s: {REPORT}")


def describe(about: Mapping[str, str], console: Console) -> None:
    """What this machine is, as a person looks for in a log first."""
    import tensorflow

    console.print(f"podium {about['podium']}, commit {about['commit']}: {about['title']}")
    console.print(", ".join(f"{name} {version}" for name, version in versions().items() if name != "commit"))
    gpus = [device.name for device in tensorflow.config.list_physical_devices("GPU")]
    console.print(f"GPUs: {', '.join(gpus) or 'none'}; processors: {os.cpu_count()}")
    root = kaggle_input()
    mounted = sorted(
        path.relative_to(root).as_posix() for pattern in ("*", "*/*", "*/*/*") for path in root.glob(pattern)
    )
    console.print(f"{root}: {', '.join(mounted[:12])}{' …' if len(mounted) > 12 else ''}")


def train(job: Job, about: Mapping[str, str], unpacked: Path, stopping: Stopping, console: Console) -> dict[str, Any]:
    from podium.data.augmentation import transform_faults
    from podium.steps.choices import Choices
    from podium.steps.ensemble import sample_of, train_and_predict
    from podium.steps.member import fold_runs, prepare

    loaded = load_config(unpacked / "configs" / job.config, job.overrides, job.seed, check=transform_faults)
    choices = Choices(
        folds=job.folds,
        limit=job.limit,
        limit_test=job.limit_test,
        dry_run=job.dry_run,
        resume=job.goes_on_from is not None,
        stopping=stopping,
        command="the next version of this kernel, with this one as a source",
    )
    take_up(job, about, unpacked, choices.runs, console)
    prepared = prepare(loaded.competition, choices, console, job.members_of(loaded))
    runs = [one for member in job.members_of(loaded) for one in fold_runs(member, prepared, choices)]
    shutil.copyfile(sample_of(prepared), SAMPLE)
    try:
        train_and_predict(runs, console)
    except StoppedError as stopped:
        console.print(str(stopped))
        return {"status": "stopped", "why": str(stopped), "runs": described(runs)}
    answer = blended(loaded, runs, choices, console) if job.blends and isinstance(loaded, Ensemble) else {}
    return {"status": "done", "runs": described(runs), **answer}


def take_up(job: Job, about: Mapping[str, str], unpacked: Path, runs: Path, console: Console) -> None:
    """A person's folds, and what the version before left, into the working folder."""
    if (unpacked / "folds").is_dir():
        shutil.copytree(unpacked / "folds", runs / "folds", dirs_exist_ok=True)
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


def described(runs: "list[FoldRun]") -> list[dict[str, Any]]:
    return [
        {
            "member": one.member.name,
            "fold": one.fold,
            "run": one.run.path.as_posix(),
            "predictions": one.predictions.as_posix() if one.is_predicted else None,
            "state": one.run.state,
        }
        for one in runs
    ]


def blended(ensemble: Ensemble, runs: "list[FoldRun]", choices: "Choices", console: Console) -> dict[str, Any]:
    """A whole ensemble ends with its CSV, also under the name that code competitions expect."""
    from podium.cli.ensembles import finish
    from podium.steps.ensemble import answers_of

    answer = finish(ensemble, answers_of(runs), Path(SAMPLE), choices, console)
    shutil.copyfile(answer.submission, CODE_SUBMISSION)
    return {"blend": answer.folder.as_posix(), "submission": answer.submission.as_posix()}
