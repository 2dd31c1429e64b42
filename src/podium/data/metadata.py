"""Metadata: columns of a competition's tables that members may take as a second input."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.competition import Competition
from podium.config.metadata import ColumnKind, MetadataChoice
from podium.errors import ConfigError, DataError
from podium.files import with_lines

PREFIX = "m_"
"""Before the name of every column of metadata, in a table of rows."""
MISSING = ("", "na", "n/a", "nan", "null", "none")
"""How a table says that a number is missing, in lower case."""


def is_missing(text: str) -> bool:
    """Whether it says that a number is missing."""
    return text.strip().lower() in MISSING


def parse_metadata(table: pd.DataFrame, columns: Mapping[str, ColumnKind], path: Path) -> pd.DataFrame:
    """Numbers, NaN where one is missing, and categories as text, from text as it is in a table.

    A column that the table lacks is missing in every row. One error names everything that is not a number.
    """
    parsed: dict[str, Any] = {}
    problems = []
    for name, kind in columns.items():
        texts = table[name] if name in table else pd.Series("", table.index, dtype=object)
        if kind != "number":
            parsed[PREFIX + name] = pd.Categorical(texts)
            continue
        numbers = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
        others = np.flatnonzero(~np.isfinite(numbers)).tolist()
        wrong = {row: repr(texts.iloc[row]) for row in others if not is_missing(texts.iloc[row])}
        if wrong:
            problems.append(f"{name}: {with_lines(path, wrong)}")
        parsed[PREFIX + name] = numbers
    if problems:
        raise DataError(
            f"{path} has metadata that are no numbers: {'; '.join(problems)}; expected a number, or nothing where it is"
            " missing: correct them, or set the column to category in the competition's metadata"
        )
    return pd.DataFrame(parsed, index=table.index)


def with_categories(competition: Competition, tables: Sequence[pd.DataFrame]) -> Competition:
    """The competition with the categories of its metadata; those that its file does not list are read from rows."""
    found = {
        name: sorted({text for table in tables for text in table[PREFIX + name].unique()})
        for name, kind in competition.metadata.items()
        if kind == "category"
    }
    return competition.model_copy(update={"metadata": {**competition.metadata, **found}}) if found else competition


def columns_of(competition: Competition, table: pd.DataFrame) -> pd.DataFrame | None:
    """The metadata in a table of rows; None if the competition has none."""
    return table[[PREFIX + name for name in competition.metadata]] if competition.metadata else None


@dataclass(frozen=True)
class Metadata:
    """The columns that a model or a blend takes: a number, or the position of a category; NaN for no number and no
    category."""

    columns: dict[str, list[str] | None]
    """The categories of each column, None for numbers."""

    @classmethod
    def of(cls, chosen: MetadataChoice | None, competition: Competition) -> "Metadata | None":
        """None if nothing is chosen."""
        if chosen is None:
            return None
        columns: dict[str, list[str] | None] = {}
        for name in chosen.chosen(competition.metadata):
            kind = competition.metadata[name]
            if kind == "category":
                raise ConfigError(
                    f"the categories of {name} are only known with the data of {competition.slug}: list them in the"
                    f" competition file, such as metadata: {{{name}: [a, b]}}"
                )
            columns[name] = None if kind == "number" else list(kind)
        return cls(columns)

    @property
    def sizes(self) -> list[int]:
        """The number of categories of each column, 0 for numbers."""
        return [len(categories or ()) for categories in self.columns.values()]

    def encode(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """The columns as (rows, columns), from the rows of a table, parsed or as text."""
        encoded = np.empty((len(table), len(self.columns)), np.float32)
        for position, (name, categories) in enumerate(self.columns.items()):
            values = table[PREFIX + name]
            if categories is not None:
                found = pd.Index(categories).get_indexer(pd.Index(values))
                values = pd.Series(np.where(found < 0, np.nan, found))
            encoded[:, position] = values.astype(np.float64)
        return encoded

    def content(self, tables: Iterable[pd.DataFrame]) -> "list[pd.Series[Any]]":
        """The columns of these tables, which decide the weights."""
        return [table[PREFIX + name] for table in tables for name in self.columns]
