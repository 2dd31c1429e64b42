"""Find the competition of a submission, and compare the submission with its sample."""

from pathlib import Path

from podium.config.competition import Competition
from podium.config.loading import load_competition
from podium.errors import ConfigError, SubmissionError
from podium.paths import configs_folder, data_folder
from podium.submission.check import find_problems
from podium.submission.spec import SubmissionSpec
from podium.workflows.download import known_competitions


def find_competition(name: str | Path | None, file_name: str = "") -> Competition:
    """The competition of a file or slug; without a name, the one whose slug `file_name` starts with."""
    if name is not None and (Path(name).suffix or Path(name).exists()):
        return load_competition(Path(name))
    slug = str(name) if name is not None else file_name.partition("_")[0]
    path = configs_folder() / "competitions" / f"{slug}.yaml"
    if path.is_file():
        return load_competition(path)
    known = known_competitions()
    if slug in known:
        return known[slug].competition
    available = f"available: {', '.join(known) or 'none'}"
    if name is not None:
        raise ConfigError(f"there is no competition file for {name} ({available})")
    raise SubmissionError(
        f"{file_name} does not start with the slug of a competition file ({available}); name one with --competition"
    )


def check_submission(
    path: str | Path,
    competition: Competition | str | Path | None = None,
    *,
    sample: str | Path | None = None,
    data: str | Path | None = None,
) -> list[str]:
    """Compare a submission with the competition's sample submission.

    Args:
        path: The CSV.
        competition: From `load_competition`, a competition file, or its slug. By default the one whose slug the file's
            name starts with.
        sample: The sample submission, if it is not in the competition's data.
        data: The folder of the competition's data. By default PODIUM_DATA, else `data/<slug>`.

    Returns:
        All problems, one line each; an empty list if the file is valid.
    """
    path = Path(path)
    if not path.is_file():
        raise SubmissionError(f"there is no file {path}; podium blend and podium run write one to submissions/")
    if not isinstance(competition, Competition):
        competition = find_competition(competition, path.name)
    if sample is None:
        sample = data_folder(competition.slug, Path(data) if data else None) / competition.submission.sample
    return find_problems(path, SubmissionSpec.of(competition, Path(sample)))
