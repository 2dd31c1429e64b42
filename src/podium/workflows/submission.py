"""Check a submission before it is sent."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from podium.config.competition import Competition
from podium.errors import SubmissionError
from podium.paths import data_folder


def check_submission(
    path: str | Path, competition: Competition, *, data: str | Path | None = None, sample: str | Path | None = None
) -> list[str]:
    """Compare a submission with the competition's sample submission.

    Args:
        path: The CSV.
        competition: From `load_competition`, or `member.competition`.
        data: The folder of the competition's data. By default PODIUM_DATA, else `data/<slug>`.
        sample: The sample submission, if it is not in that folder.

    Returns:
        All problems, each in a sentence; an empty list if the file is valid.
    """
    if sample is None:
        sample = data_folder(competition.slug, Path(data) if data is not None else None) / competition.submission.sample
    return submission_problems(Path(path), competition, Path(sample))


def submission_problems(path: Path, competition: Competition, sample: Path) -> list[str]:
    """All problems of a CSV, compared with the sample submission."""
    from podium.submission.check import check_submission

    if not path.is_file():
        raise SubmissionError(f"no file {path} to check; give a submission CSV")
    form = competition.submission
    return check_submission(
        path,
        sample=sample,
        id_column=form.id,
        label_column=form.label if form.format == "label" else None,
        format=form.format,
        classes=competition.labels,
        columns=form.columns,
    )


def print_problems(path: Path, problems: Sequence[str], console: Console) -> None:
    """Print that a CSV is valid, or raise an error with all its problems."""
    if problems:
        listed = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n  {problem}" for problem in problems)
        raise SubmissionError(f"{path} must not be submitted:{listed}")
    if "_dry-run" in path.name:
        console.print(f"{path}: valid in form, but from a dry run: to look at, not to submit")
    else:
        console.print(f"{path}: valid, ready to submit")
