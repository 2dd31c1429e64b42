"""Find the competition of a submission, and compare the submission with its sample."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from podium.config.competition import Competition
from podium.config.loading import load_competition
from podium.config.resolved import resolved_competition
from podium.errors import ConfigError, DataError, PodiumError, RunError, SubmissionError
from podium.files import read_json
from podium.paths import data_folder, sample_file
from podium.runs import Run
from podium.submission.check import find_problems
from podium.submission.ledger import Ledger
from podium.submission.spec import SubmissionSpec
from podium.workflows.download import known_competitions


def find_competition(name: str | Path | None, file: str | Path | None = None, runs: str | Path = "runs") -> Competition:
    """The competition of a file or slug; without a name, the one of the blend that wrote the CSV `file`.

    Without that blend, it is the one in the ledger that the CSV was submitted to, or whose slug its name starts with.
    """
    if name is not None and (Path(name).suffix or Path(name).exists()):
        return load_competition(Path(name))
    runs, path = Path(runs), Path(file or "")
    blend = None if name else blend_that_wrote(path.name, _folders_of_runs(path, runs))
    if blend and (found := _competition_of_blend(blend[1])):
        return found
    slug = str(name or (blend and blend[1].get("competition")) or _slug_of(path.name))
    if found := competition_called(slug, runs):
        return found
    available = f"available: {', '.join(known_competitions()) or 'none'}"
    if name is not None:
        raise ConfigError(f"there is no competition file for {name} ({available})")
    raise SubmissionError(
        f"no blend in {runs} wrote {path.name}, and it does not start with the slug of a competition file"
        f" ({available}); name one with --competition"
    )


def competition_of(file: Path, given: Competition | str | Path | None, runs: str | Path) -> Competition:
    """The competition of a CSV, which has to exist, unless it is given."""
    if file.is_dir():
        raise SubmissionError(f"{file} is a folder; expected a CSV file, such as podium blend writes to submissions/")
    if not file.is_file():
        raise SubmissionError(f"there is no file {file}; podium blend and podium run write one to submissions/")
    return given if isinstance(given, Competition) else find_competition(given, file, runs)


def competition_called(slug: str, runs: Path) -> Competition | None:
    """The competition of a file in the configs folder, else as in the resolved config of the newest run of it."""
    known = known_competitions()
    return known[slug].competition if slug in known else _newest_resolved(slug, runs)


def _newest_resolved(slug: str, runs: Path) -> Competition | None:
    for path in _configs_of_runs(runs):
        with suppress(RunError):
            if (found := resolved_competition(Run(path.parent))).slug == slug:
                return found
    return None


def _configs_of_runs(runs: Path) -> list[Path]:
    """The resolved configs of all runs, the newest first."""
    return sorted(runs.glob("*/fold[0-9]*/config.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)


def _slug_of(file_name: str) -> str:
    """The competition that the CSV was submitted to, else the first part of its name."""
    with suppress(PodiumError):
        for row in reversed(Ledger().rows()):
            if row["file"] == file_name:
                return row["competition"]
    return file_name.partition("_")[0]


def blend_that_wrote(file_name: str, folders: Iterable[Path]) -> tuple[Path, dict[str, Any]] | None:
    """The folder and the blend.json of the blend that wrote a CSV, from these folders of runs."""
    for path in sorted(path for folder in folders for path in folder.glob("*/blend.json")):
        facts: dict[str, Any] = {}
        with suppress(RunError):
            facts = read_json(path)
        if facts.get("submission") == file_name:
            return path.parent, facts
    return None


def _folders_of_runs(file: Path, runs: Path) -> list[Path]:
    """The folder of runs, and the one beside the CSV's folder: a kernel's output has both."""
    return list(dict.fromkeys([runs, file.parent.parent / "runs"]))


def _competition_of_blend(facts: Mapping[str, Any]) -> Competition | None:
    with suppress(KeyError, ValidationError):
        return Competition.model_validate(facts["config"])
    return None


def check_submission(
    path: str | Path,
    competition: Competition | str | Path | None = None,
    *,
    sample: str | Path | None = None,
    data: str | Path | None = None,
    runs: str | Path = "runs",
) -> list[str]:
    """Compare a submission with the competition's sample submission.

    Args:
        path: The CSV.
        competition: From `load_competition`, a competition file, or its slug. By default that of the blend that wrote
            the CSV, else the one whose slug the file's name starts with.
        sample: The sample submission, if it is not in the competition's data.
        data: The folder of the competition's data. By default PODIUM_DATA, else `data/<slug>`.
        runs: The folder of runs, with the blend that wrote the CSV.

    Returns:
        All problems, one line each; an empty list if the file is valid.
    """
    path = Path(path)
    competition = competition_of(path, competition, runs)
    if sample is None:
        sample = _sample_of(path, competition, Path(data) if data else None, Path(runs))
    if not competition.has_classes:
        competition = _with_classes(competition, Path(data) if data else None, Path(runs))
    return find_problems(path, SubmissionSpec.of(competition, Path(sample)))


def _with_classes(competition: Competition, data: Path | None, runs: Path) -> Competition:
    """The classes of a finished run of the competition, else those in its data."""
    if found := _newest_resolved(competition.slug, runs):
        return competition.model_copy(update={"classes": found.classes})
    from podium.data.classes import with_classes

    return with_classes(competition, data_folder(competition.slug, data))


def _sample_of(file: Path, competition: Competition, data: Path | None, runs: Path) -> Path:
    """The sample submission in the competition's data, else the one that the blend of the CSV was written for."""
    try:
        return sample_file(data_folder(competition.slug, data), competition.submission.sample)
    except DataError:
        blend = blend_that_wrote(file.name, _folders_of_runs(file, runs))
        sample = Path(blend[1].get("sample", "")) if blend and not data else Path()
        if sample.is_file():
            return sample
        raise
