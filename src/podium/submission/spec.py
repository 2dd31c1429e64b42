"""What a competition expects of a submission: its sample, columns and classes."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from podium.config.competition import Competition
from podium.errors import DataError, SubmissionError

Format = Literal["label", "probabilities"]


@dataclass(frozen=True)
class Sample:
    """The columns and ids of the sample submission, in order."""

    path: Path
    columns: list[str]
    ids: list[str]
    answers: list[str]
    """The columns besides the id: the label's, or one for each class in the order of the classes."""


@dataclass(frozen=True)
class SubmissionSpec:
    sample: Path
    format: Format
    id_column: str
    label_column: str | None
    """For the format `label`."""
    classes: Sequence[str]
    """The labels, as the competition writes them."""
    columns: Mapping[str, str]
    """For the format `probabilities`: the column of each class that is not named like the class."""

    @classmethod
    def of(cls, competition: Competition, sample: Path) -> "SubmissionSpec":
        form = competition.submission
        label_column = form.label if form.format == "label" else None
        return cls(sample, form.format, form.id, label_column, competition.labels, form.columns)

    def read_sample(self) -> Sample:
        """Read the sample and check that it fits the competition file. Ids are text, so "007" stays as it is."""
        columns, ids, is_complete = self._read_ids()
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
        answers = [self.columns.get(name, name) for name in self.classes]
        if self.format == "label":
            answers = [self.label_column] if self.label_column is not None else []
        if sorted([self.id_column, *answers]) != sorted(columns):
            raise SubmissionError(
                f"the sample submission {self.sample} has the columns {', '.join(columns)}; the competition file"
                f" expects {', '.join([self.id_column, *answers])}: make its classes, columns and format fit the sample"
            )
        return Sample(self.sample, columns, ids, answers)

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
                f"cannot read the sample submission {self.sample} ({error}); download the competition's data again"
            ) from error
        return columns, ids, is_complete
