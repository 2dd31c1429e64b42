"""The step behind `podium compare`: runs found, all of one kind, judged, and what differs between them."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.config.differences import Difference, differences
from podium.errors import RunError
from podium.workflows.candidates import Contender, each_once, folder_of
from podium.workflows.classifier_candidates import find_classifier
from podium.workflows.compare_classifiers import judge_classifiers
from podium.workflows.compare_detectors import judge_detectors
from podium.workflows.comparison import FEW, Judgement
from podium.workflows.detector_candidates import find_detector, is_detector

if TYPE_CHECKING:
    from podium.evaluation.statistics import Progress

MOST = len(string.ascii_uppercase)
"""Runs at a time: each is called by a letter."""


@dataclass(frozen=True)
class Compared:
    contenders: Sequence[Contender]
    judgement: Judgement
    settings: list[Difference]
    """What differs between the configs."""
    versions: list[Difference]
    notes: list[str]
    """What a person has to know before trusting the figures."""


def compare_runs(named: Sequence[Path], runs: Path, part: str | None, progress: "Progress") -> Compared:
    """The first is the baseline. `part` is of detectors: on which part of their set."""
    if len(named) > MOST:
        raise RunError(f"{len(named)} runs at once; expected at most {MOST}, which are called A to Z: compare fewer")
    folders = {letter: folder_of(path, runs) for letter, path in zip(string.ascii_uppercase, named, strict=False)}
    if _are_detectors(folders):
        detectors = [find_detector(letter, folder) for letter, folder in folders.items()]
        each_once(detectors)
        return _compared(detectors, judge_detectors(detectors, runs, part, progress))
    if part:
        raise RunError(f"these are no detectors, so there is no {part} part to compare on: leave --part away")
    classifiers = [find_classifier(letter, folder) for letter, folder in folders.items()]
    each_once(classifiers)
    return _compared(classifiers, judge_classifiers(classifiers, progress))


def _are_detectors(folders: Mapping[str, Path]) -> bool:
    """All of them or none."""
    are = [is_detector(folder) for folder in folders.values()]
    if any(are) and not all(are):
        one, other = (list(folders.values())[are.index(wanted)] for wanted in (True, False))
        raise RunError(
            f"{one} is a detector's run, and {other} is none; expected runs of one kind: compare detectors with"
            " detectors, classifiers with classifiers"
        )
    return all(are)


def _compared(contenders: Sequence[Contender], judgement: Judgement) -> Compared:
    return Compared(
        contenders,
        judgement,
        _among_equals(contenders, [one.config for one in contenders]),
        _among_equals(contenders, [one.versions for one in contenders]),
        [*_notes_of(contenders), *judgement.notes, *_note_on_few(judgement)],
    )


def _notes_of(contenders: Sequence[Contender]) -> list[str]:
    notes = [note for one in contenders for note in one.notes]
    for one in contenders:
        if one.is_dry_run:
            notes.append(f"{one.letter} is a dry run: its figures rehearse the comparison, and say nothing")
        elif one.limit:
            notes.append(f"{one.letter} trained on {one.limit:,} {one.trained_on} only (--limit)")
    return notes


def _note_on_few(judgement: Judgement) -> list[str]:
    count = judgement.result.rows
    return [f"only {count:,} {judgement.drawn}: intervals of so few are too narrow"] if count < FEW else []


def _among_equals(contenders: Sequence[Contender], contents: Sequence[dict[str, Any]]) -> list[Difference]:
    """What differs among the members and among the blends: a blend's keys are not a member's."""
    found = []
    for is_blend in (False, True):
        places = [number for number, one in enumerate(contenders) if one.is_blend == is_blend]
        for one in differences([contents[number] for number in places]) if places else []:
            values = [""] * len(contenders)
            for number, value in zip(places, one.values, strict=True):
                values[number] = value
            found.append(Difference(one.key, values))
    return found


def as_content(compared: Compared) -> dict[str, Any]:
    """All of it, for a JSON file."""
    judgement = compared.judgement
    return {
        "metric": judgement.metric,
        "higher_is_better": judgement.higher_is_better,
        "runs": [
            {"letter": one.letter, "path": str(one.path), "slug": one.slug, "seconds": one.seconds}
            for one in compared.contenders
        ],
        **judgement.more,
        **asdict(judgement.result),
        "settings": {one.key: one.values for one in compared.settings},
        "versions": {one.key: one.values for one in compared.versions},
        "notes": compared.notes,
    }
