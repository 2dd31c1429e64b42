"""Classifiers held against each other by what they predicted out of fold, on the rows that all of them have."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from podium.errors import RunError
from podium.evaluation.metrics import METRICS
from podium.workflows.classifier_candidates import ClassifierContender
from podium.workflows.comparison import Judgement, notes_on_left_out

if TYPE_CHECKING:
    from podium.evaluation.pairing import Paired
    from podium.evaluation.statistics import Progress

SHARES = ("accuracy", "balanced_accuracy")
"""Metrics that are a share of rows."""


def judge_classifiers(contenders: Sequence[ClassifierContender], progress: "Progress") -> Judgement:
    """The metric is that of the first one's competition."""
    from podium.evaluation.compare_classifiers import compare
    from podium.evaluation.pairing import pair
    from podium.predictions import concatenate, read_predictions

    tables = {one.letter: concatenate([read_predictions(file) for file in one.files]) for one in contenders}
    paired = pair({f"{one.letter} ({one.path})": tables[one.letter] for one in contenders})
    _one_competition(contenders, paired)
    metric = METRICS[contenders[0].metric]
    is_share = metric.name in SHARES
    return Judgement(
        result=compare(paired, metric, progress=progress),
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        unit="points" if is_share else f"in {metric.name}",
        is_share=is_share,
        drawn="rows",
        where="out of fold",
        question="rows whose most probable class is the right one",
        right="right",
        wrong="wrong",
        alone="rows are right in one of the two alone",
        by_mcnemar=metric.name == "accuracy",
        notes=[*_notes_on_rows(contenders, paired), *_notes_on_competitions(contenders)],
    )


def _one_competition(contenders: Sequence[ClassifierContender], paired: "Paired") -> None:
    """Ids and labels decide, since a competition of cut-out images is called otherwise and has the same rows. Where
    few rows are in common, names such as 0001.jpg may be so by chance."""
    slugs = list(dict.fromkeys(one.slug for one in contenders))
    if len(slugs) > 1 and paired.share_of_smallest < 1 / 2:
        raise RunError(
            f"these are runs of different competitions ({', '.join(slugs)}) with {len(paired.ids):,} rows in common,"
            " less than half of what each has; expected the same images: compare runs of one competition"
        )


def _notes_on_rows(contenders: Sequence[ClassifierContender], paired: "Paired") -> list[str]:
    count = len(paired.ids)
    notes = notes_on_left_out(contenders, paired.left_out, f"{count:,} rows that")
    for one, moved in zip(contenders, paired.in_other_folds, strict=True):
        if moved:
            notes.append(
                f"{one.letter} has {moved:,} of {count:,} rows in another fold than {contenders[0].letter}: each is"
                " still predicted by a model that had not seen it, but these learned from other rows"
            )
    return notes


def _notes_on_competitions(contenders: Sequence[ClassifierContender]) -> list[str]:
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
