"""A guess at the metadata of a competition: columns that the tables of training and test images share."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from podium.data.inventory import Inventory
from podium.data.metadata import is_missing

_IDENTIFIERS = re.compile(r"(^|[_ ])(id|uid|index|file|filename|path|url|name|hash)$", re.I)
_MOST_CATEGORIES, _MOST_LISTED = 100, 12
_LEAST_KNOWN = 0.9
"""The share of test rows whose category training rows have, below which a column is no metadata."""


@dataclass(frozen=True)
class GuessedMetadata:
    table: str
    """The table of the test images."""
    id: str
    columns: dict[str, Any]
    """As in a competition file."""


def guess_metadata(
    inventory: Inventory, train: str, test_ids: Collection[str], used: Collection[str]
) -> GuessedMetadata | None:
    """The columns that a table of all test images shares with the training table, apart from those in `used`."""
    for name, table in inventory.tables.items():
        if name in (train, inventory.sample):
            continue
        id_column = next((column for column in table if _has_all(table[column], test_ids)), None)
        if id_column is None:
            continue
        other = inventory.tables[train]
        shared = [column for column in table if column in other and column not in (id_column, *used)]
        kinds = {str(column): _kind(str(column), other[column], table[column]) for column in shared}
        if columns := {column: kind for column, kind in kinds.items() if kind}:
            return GuessedMetadata(name, str(id_column), columns)
    return None


def _has_all(values: "pd.Series[str]", ids: Collection[str]) -> bool:
    return values.is_unique and set(ids) <= set(values)


def _kind(name: str, train: "pd.Series[str]", test: "pd.Series[str]") -> Any:
    """number, category or a list of categories; None for constants, identifiers and free text."""
    distinct = train.unique()
    if _IDENTIFIERS.search(name) or len(distinct) < 2:
        return None
    if _are_numbers(train) and _are_numbers(test):
        return "number"
    if len(distinct) > min(_MOST_CATEGORIES, len(train) / 4) or test.isin(distinct).mean() < _LEAST_KNOWN:
        return None
    return sorted(distinct) if len(distinct) <= _MOST_LISTED else "category"


def _are_numbers(values: "pd.Series[str]") -> bool:
    present = values[[not is_missing(text) for text in values]]
    return bool(len(present)) and bool(np.isfinite(pd.to_numeric(present, errors="coerce")).all())
