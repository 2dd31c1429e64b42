"""How a submission is scored: functions that take the file's bytes, and say ValueError of one they cannot read."""

import csv
import io
import zlib
from collections.abc import Callable, Mapping

Score = float | tuple[float, float]
Scorer = Callable[[bytes], Score]
"""Gives the public score, or the public and the private one."""


def accuracy_against(answers: Mapping[str, str], id_column: str = "Id", label_column: str = "Category") -> Scorer:
    """The share of right answers: three rows of ten, picked by their ids, are the public ones."""
    public = {name for name in answers if zlib.crc32(name.encode()) % 10 < 3} or set(answers)
    private = set(answers) - public or set(answers)

    def score(content: bytes) -> Score:
        given = _read(content, id_column, label_column)
        missing = sorted(set(answers) - set(given))
        if missing:
            raise ValueError(f"Submission must have {len(answers)} rows; the id {missing[0]} has none")
        unknown = sorted(set(given) - set(answers))
        if unknown:
            raise ValueError(f"The id {unknown[0]} is not one of the test's")
        right = {name for name, answer in answers.items() if given[name] == str(answer)}
        return len(right & public) / len(public), len(right & private) / len(private)

    return score


def _read(content: bytes, id_column: str, label_column: str) -> dict[str, str]:
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"The submission cannot be read as CSV: {error}") from None
    for column in (id_column, label_column):
        if not rows or column not in rows[0]:
            raise ValueError(f"The submission has no column {column}")
    given = {row[id_column]: row[label_column] for row in rows}
    if len(given) != len(rows):
        raise ValueError(f"The submission has {len(rows) - len(given)} ids twice")
    return given
