"""What a competition expects of a submission: its sample, its columns, and what they hold."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.config.competition import Competition
from podium.config.submission import Format
from podium.config.target import Regression
from podium.errors import DataError, SubmissionError
from podium.evaluation.metrics import metric_of
from podium.files import check_separator

_SUM_TO_ONE = ("single_label", "ordinal", "soft_label")


@dataclass(frozen=True)
class Sample:
    """The columns and ids of the sample submission, in order."""

    path: Path
    columns: list[str]
    ids: list[str]


@dataclass(frozen=True, kw_only=True)
class SubmissionSpec:
    sample: Path
    format: Format
    target: str = "single_label"
    """The kind of target."""
    id_column: str
    answer_columns: Sequence[str]
    """The columns besides the id: one for labels, else one for each prediction."""
    labels: Sequence[str] = ()
    """The classes, as the competition writes them."""
    separator: str = " "
    """Between the labels of a row, for the format `labels`."""
    most_labels: int | None = None
    """How many of the most probable labels to write; None for those above their thresholds."""
    no_label: str | None = None
    """What to write if no label is above its threshold; None for the most probable one."""
    range: tuple[float, float] | None = None
    """The smallest and the largest number, for the format `numbers`."""
    is_whole: bool = False
    """Whether the metric wants whole numbers."""

    @classmethod
    def of(cls, competition: Competition, sample: Path) -> "SubmissionSpec":
        form, target, format_ = competition.submission, competition.target, competition.submission_format
        is_one_column = format_ in ("label", "labels")
        low_and_high = target.range if isinstance(target, Regression) else None
        return cls(
            sample=sample,
            format=format_,
            target=target.kind,
            id_column=form.id,
            answer_columns=[competition.label_column] if is_one_column else competition.answer_columns,
            labels=competition.labels,
            separator=competition.label_separator,
            most_labels=competition.most_labels,
            no_label=form.none,
            range=(low_and_high[0], low_and_high[1]) if low_and_high else None,
            is_whole=target.kind == "regression" and metric_of(competition).takes_answers,
        )

    @property
    def predictions(self) -> int:
        """The number of prediction columns."""
        if self.target == "binary":
            return 1
        return len(self.answer_columns) if self.target == "regression" else len(self.labels)

    @property
    def sums_to_one(self) -> bool:
        return self.format == "probabilities" and self.target in _SUM_TO_ONE

    def read_sample(self) -> Sample:
        """Read the sample and check that it fits the competition file. Ids are text, so "007" stays as it is."""
        columns, ids, is_complete = self._read_ids()
        check_separator(self.sample, columns)
        if self.id_column not in columns or not is_complete or not ids:
            raise DataError(
                f"the sample submission {self.sample} has the columns {', '.join(columns)} and {len(ids)} rows;"
                f" expected a column {self.id_column!r}, at least one row, and as many values in each row as columns:"
                " fix the id column in the competition file, or download the data again"
            )
        if len(set(ids)) < len(ids):
            repeated = [name for name, count in Counter(ids).items() if count > 1]
            raise DataError(
                f"the sample submission {self.sample} has {len(repeated)} ids more than once (first: {repeated[0]!r});"
                f" is {self.id_column!r} the id column?"
            )
        if sorted([self.id_column, *self.answer_columns]) != sorted(columns):
            expected = ", ".join([self.id_column, *self.answer_columns])
            raise SubmissionError(
                f"the sample submission {self.sample} has the columns {', '.join(columns)}; the competition file"
                f" expects {expected} (format {self.format}): make its classes, columns and format fit the sample"
            )
        return Sample(self.sample, columns, ids)

    def _read_ids(self) -> tuple[list[str], list[str], bool]:
        """Columns, ids, and whether each row has a value for every column."""
        ids, is_complete = [], True
        try:
            with self.sample.open(encoding="utf-8-sig", newline="") as file:
                rows = filter(None, csv.reader(file))
                columns = next(rows, [])
                position = columns.index(self.id_column) if self.id_column in columns else 0
                for row in rows:
                    is_complete = is_complete and len(row) == len(columns)
                    ids.append(row[position] if is_complete else "")
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"cannot read the sample submission {self.sample} ({error}); expected a CSV in UTF-8: correct its path,"
                " or download the competition's data again"
            ) from error
        return columns, ids, is_complete
