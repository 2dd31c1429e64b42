"""The schema of a submission: its sample, its columns, and what they hold."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, field_validator

from podium.config.patterns import DataTable
from podium.config.settings import Count, Settings, character

Format = Literal["label", "labels", "probabilities", "indicators", "numbers"]
FORMATS: dict[str, tuple[Format, ...]] = {
    "single_label": ("label", "labels", "probabilities"),
    "binary": ("probabilities", "indicators", "label"),
    "multi_label": ("probabilities", "indicators", "labels"),
    "ordinal": ("label", "probabilities"),
    "regression": ("numbers",),
    "soft_label": ("probabilities",),
}
"""What can be submitted, by the kind of the target."""


class Submission(Settings):
    format: Format | None = None
    """label: one class. labels: several, separated. probabilities, or indicators, 0 and 1: a column for each class, one
    column if the target is binary. numbers: those of a regression. By default label for single_label and ordinal,
    numbers for regression, labels for the metric map@k; else probabilities or, if the metric takes answers, indicators,
    or labels where those of the training rows are in one column."""
    sample: DataTable = "sample_submission.csv"
    """A CSV file in the data folder; it may also be spelled sample-submission.csv."""
    id: str = "Id"
    """The column of image ids."""
    label: str | None = None
    """The column of the answer where there is only one; by default the column train.label."""
    columns: dict[str, str] = {}
    """The column of each class or number that is not named like it."""
    separator: Annotated[Literal["space", "comma", "pipe"] | None, BeforeValidator(character)] = None
    """For the format labels: what is between them; by default the separator of the target, else a space."""
    most: Count | None = None
    """For the format labels: write so many of the most probable labels, instead of those above their thresholds. By
    default the k of the metric map@k."""
    none: str | None = None
    """For the format labels: what to write if no label is above its threshold, such as ""; by default the most probable
    label."""

    @field_validator("columns", mode="before")
    @classmethod
    def _labels_as_text(cls, columns: Any) -> Any:
        return by_class(columns)

    def problems(self, format_: Format, target: str, most: int | None) -> list[tuple[str, str]]:
        """Keys that do not fit the target or the format, with the problem of each."""
        if format_ not in FORMATS[target]:
            return [("format", f"the target {target} is submitted as {' or '.join(FORMATS[target])}, not {format_}")]
        if format_ != "labels":
            given = {"separator": self.separator, "most": self.most, "none": self.none}
            message = f"only for the format labels, got {format_}: remove it"
            return [(key, message) for key, value in given.items() if value is not None]
        if most is None and target == "single_label":
            return [("most", "missing required key: how many labels to write, the most probable first")]
        if most is not None and self.none is not None:
            return [("none", f"the {most} most probable labels are always written: remove it, or most")]
        return []


def by_class(value: Any) -> Any:
    """The keys of a mapping as labels."""
    return {as_label(key): text for key, text in value.items()} if isinstance(value, dict) else value


def as_label(written: Any) -> str:
    """A label as it is in the table. YAML does not preserve how `true` or `1.50` was written."""
    if isinstance(written, str) or type(written) is int:
        return str(written)
    raise ValueError(f"expected text as a class: write {written!r} in quotes, exactly as in the table")
