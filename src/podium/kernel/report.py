"""The report that a kernel leaves in its output. It comes from another machine, so it is validated before use."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from podium import errors
from podium.config.kaggle_names import SLUG
from podium.errors import RunError
from podium.files import digest_of_file, parse_json
from podium.paths import FILE_NAME, stays_inside
from podium.runs import BEST_TYPES, BLEND_FOLDER, CHECKPOINT_NAME, RUN_FOLDER, Run, has_types

REPORT = "podium-report.json"
"""The last file the script writes: the results and their paths."""
SAMPLE = "sample-submission.csv"
"""Copied to the output, so that local blending does not need the competition's data."""
CODE_SUBMISSION = "submission.csv"
"""The file that code competitions score."""
_PODIUM_ERROR = re.compile(
    rf"(?:podium\.errors\.)?(?:{'|'.join(name for name in vars(errors) if name.endswith('Error'))}): (.+)"
)
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)(?:: .+)?")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


def _named(pattern: str, what: str) -> AfterValidator:
    """Validate a path in the output, or a name."""

    def check(text: str) -> str:
        if not stays_inside(text) or not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return AfterValidator(check)


def _check_checkpoint(text: str) -> str:
    if not CHECKPOINT_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a checkpoint")
    return text


_RUN, _BLEND = f"runs/{RUN_FOLDER.pattern}", f"runs/{BLEND_FOLDER.pattern}"
_SUBMISSION = rf"submissions/{FILE_NAME}__{FILE_NAME}\.csv"


class RunEntry(BaseModel):
    """One fold of a member, or a detector: its run folder and, if predicted, its predictions."""

    model_config = ConfigDict(frozen=True)

    member: str
    fold: int
    run: Annotated[str, _named(_RUN, "a run folder, runs/<member>-<digest>/fold<k>")]
    predictions: Annotated[str, _named(f"{_RUN}/predictions-[^/]+", "a folder of predictions in a run")] | None = None
    state: dict[str, Any] = {}
    checkpoint: Annotated[str, AfterValidator(_check_checkpoint)] | None = None
    """The file name of the newest checkpoint."""

    @property
    def best(self) -> dict[str, Any]:
        best: Any = self.state.get("best")
        is_valid = isinstance(best, dict) and {"monitor", "score"} <= best.keys() and has_types(best, BEST_TYPES)
        return best if is_valid else {}

    @property
    def score(self) -> str:
        return f"{self.best['monitor']} {float(self.best['score']):.4f}" if self.best else ""


class Report(BaseModel):
    model_config = ConfigDict(frozen=True)

    status: Literal["done", "stopped"]
    reason: str = ""
    """Why it stopped."""
    config: str = ""
    config_digest: str = ""
    runs: list[RunEntry] = []
    boxes: Annotated[str, _named(f"runs/boxes/{SLUG.pattern}", "a dataset, runs/boxes/<slug>")] | None = None
    """The dataset that a detector was trained on."""
    blend: Annotated[str, _named(_BLEND, "a blend, runs/<ensemble>-<digest>")] | None = None
    submission: Annotated[str, _named(_SUBMISSION, "a submission, submissions/<name>__<time>.csv")] | None = None
    weights: list[Annotated[str, _named("[^/]+", "a file name")]] = []
    files: dict[str, int] = {}
    """Names and sizes of the files that these results consist of."""

    @property
    def progress(self) -> list[int]:
        """Greater the further the kernel came. The numbers of checkpoints continue in a resumed training."""
        numbers = [int(entry.checkpoint.split("-")[1]) if entry.checkpoint else 0 for entry in self.runs]
        trained = [int(entry.state.get("status") == "trained") for entry in self.runs]
        return [int(self.boxes is not None), sum(trained), sum(numbers)]


def result_files(report: Mapping[str, Any]) -> dict[str, int]:
    """The `files` of a report, in the folder that the script ran in. Hidden and empty files do not matter."""
    runs = [entry["run"] for entry in report.get("runs", ())]
    results = [report.get(key) for key in ("boxes", "blend", "submission")]
    paths = [Path(path) for path in (*runs, *results, *report.get("weights", ()), SAMPLE, CODE_SUBMISSION) if path]
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    shown = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    return {file.as_posix(): file.stat().st_size for file in shown if file.stat().st_size}


def run_entry(member: str, fold: int, run: Run, predictions: Path | None = None) -> dict[str, Any]:
    """The entry of one training, as written to the report."""
    checkpoints = run.checkpoints
    return {
        "member": member,
        "fold": fold,
        "run": run.path.as_posix(),
        "predictions": predictions.as_posix() if predictions else None,
        "state": run.state,
        "checkpoint": checkpoints[0].name if checkpoints else None,
    }


def find_report(output: Path) -> Report | None:
    """Read a kernel's report; None if podium did not run in it or it did not finish."""
    path = output / REPORT
    try:
        return Report.model_validate(parse_json(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise RunError(f"{path} is not a valid report ({reason}); this output is ignored") from None


def read_report(output: Path) -> Report:
    report = find_report(output)
    if report is None:
        raise RunError(f"{output} has no {REPORT}: podium did not run in this kernel, or did not finish")
    return report


def check_output(output: Path, report: Report) -> None:
    """Raise a RunError if the output lacks a file of its results, or if the newest checkpoint is damaged."""
    checkpoints = [f"{entry.run}/checkpoints/{entry.checkpoint}" for entry in report.runs if entry.checkpoint]
    for name in [*checkpoints, *report.files]:
        path = output / name
        if not path.is_file() or report.files.get(name) not in (None, path.stat().st_size):
            raise RunError(f"{output} lacks {name}, or has only a part of it; its report lists it")
    for path in (output / name for name in checkpoints):
        if digest_of_file(path) not in path.name:
            raise RunError(f"{path} is damaged: its checksum does not match")


def cause_of_failure(log: Iterable[str]) -> str:
    """The last error of podium in a kernel's log, else the last exception; other processes may write after it."""
    lines = [_COLOUR.sub("", line).strip() for line in log]
    found = [match[1] for line in lines if (match := _PODIUM_ERROR.fullmatch(line))]
    found = found or [line for line in lines if _EXCEPTION.fullmatch(line)]
    return found[-1] if found else ""
