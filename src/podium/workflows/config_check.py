"""Check config files, and the data that their competition file describes, before anything trains."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from podium.config.competition import Competition
from podium.config.extra import Extra
from podium.config.loading import Ensemble, Member, kind_in
from podium.config.yaml_file import read_yaml
from podium.errors import ConfigError, DataError, PodiumError, listed
from podium.paths import data_folder
from podium.workflows.configs import load_competition, load_ensemble, load_member
from podium.workflows.prepare import read_sample

Result = TypeVar("Result")


def check_configs(files: Sequence[Path], data: Path | None = None) -> tuple[list[str], list[str]]:
    """Check files of any kind, and the data of their competitions if it is here.

    Returns a line for each file and data folder that is valid or was not checked, and all problems.
    """
    fine: list[str] = []
    problems: list[str] = []
    competitions: list[Competition] = []
    extra: list[tuple[Competition, Extra]] = []
    for file in files:
        try:
            loaded = load_any(file)
        except ConfigError as error:
            problems.append(str(error))
            continue
        fine.append(f"{file}: valid")
        if loaded is None:
            continue
        competition = loaded if isinstance(loaded, Competition) else loaded.competition
        competitions += [] if competition in competitions else [competition]
        members = loaded.members if isinstance(loaded, Ensemble) else (loaded,) if isinstance(loaded, Member) else ()
        extra += [(competition, source) for member in members for source in member.settings.extra if not source.pseudo]
    for competition in competitions:
        sources = [source for of, source in extra if of == competition]
        valid, more = check_data(competition, data, sources)
        fine += valid
        problems += more
    return fine, problems


def load_any(file: Path) -> Competition | Member | Ensemble | None:
    """Load a config with all checks; returns None for a detector."""
    match kind_in(read_yaml(file)):
        case "ensemble":
            return load_ensemble(file)
        case "competition":
            return load_competition(file)
        case "detector":
            from podium.data.augmentation import transform_problems
            from podium.detection.loading import load_detector

            load_detector(file, check=partial(transform_problems, takes_boxes=True))
            return None
        case _:
            return load_member(file)


def check_data(competition: Competition, data: Path | None, extra: Sequence[Extra] = ()) -> tuple[list[str], list[str]]:
    """What the data has, and its problems: columns, labels, ids, the sample submission, and images that are missing;
    also those of the extra rows of members."""
    from podium.data.classes import with_classes
    from podium.data.extra import read_extra
    from podium.data.table import read_rows
    from podium.data.targets import target_of
    from podium.data.unlabelled import find_test_set

    try:
        folder = data_folder(competition.slug, data, competition.kaggle_source)
    except DataError as error:
        is_named = data is not None or os.environ.get("PODIUM_DATA") or (Path("data") / competition.slug).exists()
        return ([], [str(error)]) if is_named else ([f"data not checked: {error}"], [])
    problems: list[str] = []
    are_listed, resolved = competition.has_classes, _attempt(lambda: with_classes(competition, folder), problems)
    if resolved is None:
        return [], problems
    competition = resolved
    rows = _attempt(lambda: read_rows(competition, folder), problems)
    sample = _attempt(lambda: read_sample(competition, folder), problems)
    test = _attempt(lambda: find_test_set(competition, folder), problems) if sample else None
    target = target_of(competition)
    more = [_attempt(partial(read_extra, source, competition, folder), problems) for source in extra]
    if rows and None not in more:
        truths = [
            target.truth(rows.train),
            target.truth(rows.extra),
            *(images.truth for images in more if images is not None),
        ]
        absent = [target.classes_without_rows(truth) for truth in truths]
        if nowhere := [label for label in absent[0] if all(label in others for others in absent)]:
            problems.append(
                f"classes without a training row: {listed(nowhere)}; remove them from the classes of the competition"
                " file, or add images of them"
            )
    parts = [f"{len(rows.train):,} images to train on"] if rows else []
    parts += [f"{len(test.ids):,} to predict"] if test else []
    notes = [] if sample or problems else [_without_sample(competition, folder)]
    notes += [] if are_listed else [f"classes read from the data: {listed(competition.labels)}"]
    notes += [*(rows.notes if rows else ()), *(test.notes if test else ())]
    summary = f"{folder}: {', '.join([*parts, target.description])}"
    return ([] if problems else [summary, *(f"  {note}" for note in notes)]), problems


def _without_sample(competition: Competition, folder: Path) -> str:
    others = sorted(path.name for path in folder.glob("*.csv") if path.name != competition.train.table)
    found = f"; other CSV files are {listed(others)}" if others else ""
    return f"predicting needs {competition.submission.sample} (submission.sample), which does not exist{found}"


def _attempt(read: Callable[[], Result], problems: list[str]) -> Result | None:
    try:
        return read()
    except PodiumError as error:
        problems.append(str(error))
        return None
