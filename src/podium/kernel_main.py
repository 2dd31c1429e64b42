"""What the packed script of a member or an ensemble does, on Kaggle's machine or in a rehearsal: `podium run`, from the
mounted inputs on; or, with internet, keeping pretrained weights."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.config.loading import Ensemble
from podium.detection.loading import Detector
from podium.errors import StoppedError
from podium.kernel.job import load_config
from podium.kernel.session import Session, do_job, entry_of, take_up

if TYPE_CHECKING:
    from podium.workflows.members import FoldRun

SAMPLE = "sample-submission.csv"
"""A copy of it, so that blending at home needs nothing of the competition's data."""
CODE_SUBMISSION = "submission.csv"
"""What code competitions take from a kernel's output."""


def run_job(content: Mapping[str, Any], about: Mapping[str, str], unpacked: Path) -> None:
    do_job(content, about, unpacked, work)


def work(session: Session) -> dict[str, Any]:
    if session.job.kind == "weights":
        from podium.kernel.pretrained import keep_weights

        kept = keep_weights(session.job, session.unpacked / "configs", session.console)
        return {"status": "done", "weights": kept}
    return train(session)


def train(session: Session) -> dict[str, Any]:
    from podium.data.augmentation import transform_problems
    from podium.workflows.ensembles import sample_of, train_and_predict
    from podium.workflows.members import fold_runs, prepare

    job, console, options = session.job, session.console, session.options
    loaded = load_config(session.config, session.overrides, job.seed, check=transform_problems)
    assert not isinstance(loaded, Detector)
    take_up(job, session.about, session.unpacked, options.runs, console)
    prepared = prepare(loaded.competition, options, console, job.members_of(loaded))
    runs = [one for member in job.members_of(loaded) for one in fold_runs(member, prepared, options)]
    shutil.copyfile(sample_of(prepared), SAMPLE)
    try:
        train_and_predict(runs, console)
    except StoppedError as stopped:
        console.print(str(stopped))
        return {"status": "stopped", "why": str(stopped), "runs": described(runs)}
    answer = blended(loaded, runs, session) if job.blends and isinstance(loaded, Ensemble) else {}
    return {"status": "done", "runs": described(runs), **answer}


def described(runs: "list[FoldRun]") -> list[dict[str, Any]]:
    return [entry_of(one.member.name, one.fold, one.run, one.predictions if one.is_predicted else None) for one in runs]


def blended(ensemble: Ensemble, runs: "list[FoldRun]", session: Session) -> dict[str, Any]:
    """A whole ensemble ends with its CSV, also under the name that code competitions expect."""
    from podium.workflows.ensembles import answers_of, finish

    answer = finish(ensemble, answers_of(runs), Path(SAMPLE), session.options, session.console)
    shutil.copyfile(answer.submission, CODE_SUBMISSION)
    return {"blend": answer.folder.as_posix(), "submission": answer.submission.as_posix()}
