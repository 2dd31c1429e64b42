"""What a kernel's script says at its end. It comes from another machine, so it is looked at before it is believed."""

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from podium.errors import RunError

REPORT = "podium-report.json"
"""In a kernel's output, the last thing its script writes: what is done, and where it lies."""


def _below(folder: str) -> AfterValidator:
    """A path within this folder of the output."""

    def check(text: str) -> str:
        path = PurePosixPath(text)
        parts = path.parts
        if (
            path.is_absolute()
            or ".." in parts
            or "\\" in text
            or "\0" in text
            or parts[:1] != (folder,)
            or len(parts) < 2
        ):
            raise ValueError(f"{text!r} does not lie in {folder}/")
        return text

    return AfterValidator(check)


def _a_name(text: str) -> str:
    if PurePosixPath(text).name != text or text in ("", ".", "..") or "\\" in text or "\0" in text:
        raise ValueError(f"{text!r} is no plain name")
    return text


InRuns = Annotated[str, _below("runs")]


class Entry(BaseModel):
    """One member on one fold, or a detector: its run folder, and its predictions where it is predicted."""

    model_config = ConfigDict(frozen=True)

    member: str
    fold: int
    run: InRuns
    predictions: InRuns | None = None
    state: dict[str, Any] = {}

    @property
    def best(self) -> dict[str, Any]:
        best = self.state.get("best")
        return best if isinstance(best, dict) and {"monitor", "score"} <= best.keys() else {}

    @property
    def score(self) -> str:
        return f"{self.best['monitor']} {float(self.best['score']):.4f}" if self.best else ""


class Report(BaseModel):
    model_config = ConfigDict(frozen=True)

    status: Literal["done", "stopped"]
    why: str = ""
    config: str = ""
    config_digest: str = ""
    runs: list[Entry] = []
    boxes: InRuns | None = None
    """The set that a detector was trained on."""
    blend: InRuns | None = None
    submission: Annotated[str, _below("submissions")] | None = None
    weights: list[Annotated[str, AfterValidator(_a_name)]] = []


def find_report(output: Path) -> Report | None:
    """None where there is none: the kernel is not podium's, or did not come to its end."""
    path = output / REPORT
    try:
        return Report.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        where = str(error).splitlines()[0]
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise RunError(f"{path} is not as podium writes it ({where}); nothing of this output is used") from None


def read_report(output: Path) -> Report:
    report = find_report(output)
    if report is None:
        raise RunError(f"{output} holds no {REPORT}: this kernel was not podium's, or did not come to its end")
    return report
