"""The step behind `podium compare`: runs found, their rows paired, their scores held against the first run's."""

import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.config.differences import Difference, differences
from podium.errors import RunError
from podium.metrics import METRICS, Metric
from podium.steps.contenders import Contender, find_contender

if TYPE_CHECKING:
    from podium.ensemble.comparing import Comparison, Progress
    from podium.ensemble.pairing import Paired

MOST = len(string.ascii_uppercase)
"""Runs at a time: each is called by a letter."""
FEW_ROWS = 100
"""With fewer, resampling makes intervals that are too narrow."""


@dataclass(frozen=True)
class Compared:
    contenders: list[Contender]
    metric: Metric
    result: "Comparison"
    settings: list[Difference]
    """What differs between the configs."""
    versions: list[Difference]
    notes: list[str]
    """What a person has to know before trusting the figures."""


def compare_runs(named: Sequence[Path], runs: Path, progress: "Progress") -> Compared:
    """The first is the baseline, and its competition's metric is the one."""
    from podium.ensemble.comparing import compare
    from podium.ensemble.pairing import pair
    from podium.ensemble.predictions import concatenate, read_predictions

    if len(named) > MOST:
        raise RunError(f"{len(named)} runs at once; expected at most {MOST}, which are called A to Z: compare fewer")
    contenders = [find_contender(string.ascii_uppercase[number], path, runs) for number, path in enumerate(named)]
    _each_once(contenders)
    tables = {one.letter: concatenate([read_predictions(file) for file in one.files]) for one in contenders}
    paired = pair({f"{one.letter} ({one.path})": tables[one.letter] for one in contenders})
    _one_competition(contenders, paired)
    metric = METRICS[contenders[0].metric]
    notes = [*_notes_of(contenders), *_notes_on_rows(contenders, paired), *_notes_on_competitions(contenders)]
    result = compare(paired, metric, progress=progress)
    return Compared(
        contenders,
        metric,
        result,
        _among_equals(contenders, [one.config for one in contenders]),
        _among_equals(contenders, [one.versions for one in contenders]),
        notes,
    )


def _each_once(contenders: Sequence[Contender]) -> None:
    for number, one in enumerate(contenders):
        for other in contenders[:number]:
            if [file.resolve() for file in one.files] == [file.resolve() for file in other.files]:
                raise RunError(
                    f"{one.path} and {other.path} are the same predictions; expected other ones: name each run once"
                )


def _one_competition(contenders: Sequence[Contender], paired: "Paired") -> None:
    """Ids and labels decide, since a competition of cut-out pictures is called otherwise and has the same rows. Where
    few rows are in common, names such as 0001.jpg may be so by chance."""
    slugs = list(dict.fromkeys(one.slug for one in contenders))
    if len(slugs) > 1 and paired.share_of_smallest < 1 / 2:
        raise RunError(
            f"these are runs of different competitions ({', '.join(slugs)}) with {len(paired.ids):,} rows in common,"
            " less than half of what each has; expected the same pictures: compare runs of one competition"
        )


def _notes_of(contenders: Sequence[Contender]) -> list[str]:
    notes = [note for one in contenders for note in one.notes]
    for one in contenders:
        if one.is_dry_run:
            notes.append(f"{one.letter} is a dry run: its figures rehearse the comparison, and say nothing")
        elif one.limit:
            notes.append(f"{one.letter} trained on {one.limit:,} rows a fold only (--limit)")
    return notes


def _notes_on_rows(contenders: Sequence[Contender], paired: "Paired") -> list[str]:
    notes = []
    count = len(paired.ids)
    if any(paired.left_out):
        several = "both" if len(contenders) == 2 else "all"
        listed = ", ".join(
            f"{left_out:,} of {one.letter}"
            for one, left_out in zip(contenders, paired.left_out, strict=True)
            if left_out
        )
        notes.append(f"compared are the {count:,} rows that {several} have; left out: {listed}")
    for one, moved in zip(contenders, paired.in_other_folds, strict=True):
        if moved:
            notes.append(
                f"{one.letter} has {moved:,} of {count:,} rows in another fold than {contenders[0].letter}: each is"
                " still predicted by a model that had not seen it, but these learned from other rows"
            )
    if count < FEW_ROWS:
        notes.append(f"only {count:,} rows: intervals of so few are too narrow")
    return notes


def _notes_on_competitions(contenders: Sequence[Contender]) -> list[str]:
    first, notes = contenders[0], []
    others = [one for one in contenders if one.slug != first.slug]
    if others:
        listed = ", ".join(f"{one.letter} of {one.slug}" for one in others)
        notes.append(
            f"{first.letter} is of {first.slug}, {listed}: compared since ids, labels and classes are the same"
        )
    for one in contenders:
        if one.metric != first.metric:
            notes.append(
                f"the competition of {one.letter} scores by {one.metric}; compared is {first.metric}, that of"
                f" {first.letter}"
            )
    return notes


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
    return {
        "metric": compared.metric.name,
        "higher_is_better": compared.metric.higher_is_better,
        "runs": [
            {"letter": one.letter, "path": str(one.path), "competition": one.slug, "seconds": one.seconds}
            for one in compared.contenders
        ],
        **asdict(compared.result),
        "settings": {one.key: one.values for one in compared.settings},
        "versions": {one.key: one.values for one in compared.versions},
        "notes": compared.notes,
    }
