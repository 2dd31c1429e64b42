"""The schema of the rows that a member trains on beside those of the competition."""

from typing import Any, Self

from pydantic import field_validator, model_validator

from podium.config.competition import Competition
from podium.config.kaggle_names import KaggleSource, is_at_kaggle
from podium.config.patterns import Pattern
from podium.config.problems import nearest, raise_key_problems
from podium.config.settings import Positive, Settings
from podium.config.submission import as_label


class Extra(Settings):
    """More rows to train on, which no fold validates on: a table, or images of one label.

    `table` and `images` are relative to the competition's data folder, absolute, or at Kaggle as
    `kaggle-dataset:<owner>/<slug>/<path>`.
    """

    table: str | None = None
    """A CSV file with the columns of the competition's table, or with soft labels: `id`, and `p_<class>` for each
    class."""
    images: str | None = None
    """The image of each row of the table, such as `more/{id}.jpg`; or, with `label`, a pattern of files, such as
    `outside/audi/*.jpg`."""
    label: str | None = None
    """The label of all these images, as in the competition's table."""
    weight: Positive = 1.0
    """How much a row counts in the loss; one of the competition counts 1."""

    @field_validator("label", mode="before")
    @classmethod
    def _as_in_the_table(cls, label: Any) -> str | None:
        return label if label is None else str(label) if isinstance(label, float) else as_label(label)

    @field_validator("table", "images")
    @classmethod
    def _is_place(cls, place: str | None) -> str | None:
        if place and is_at_kaggle(place) and not ((found := KaggleSource.parse(place)) and found.path):
            raise ValueError(f"expected kaggle-dataset:<owner>/<slug>/<path>, got {place!r}")
        return place

    @model_validator(mode="after")
    def _is_one_source(self) -> Self:
        problems = []
        if (self.table is None) == (self.label is None):
            problems.append(("", "expected one of the keys table and label"))
        if self.images is None:
            problems.append(("images", "missing required key"))
        else:
            try:
                has_id = "id" in Pattern.of(self.images).fields
            except ValueError as error:
                problems.append(("images", f"{self.images!r} is not a pattern such as 'more/{{id}}.jpg': {error}"))
            else:
                if self.table is not None and not has_id:
                    problems.append(("images", f"expected a pattern with {{id}}, got {self.images!r}"))
        raise_key_problems(problems)
        return self

    @property
    def places(self) -> list[str]:
        """The table and the images."""
        return [place for place in (self.table, self.images) if place]

    def problems_with(self, competition: Competition) -> list[tuple[str, str]]:
        """What does not fit the competition's target, as (key, message)."""
        if self.label is None:
            return []
        if competition.target.kind == "regression":
            message = "each number has a column of its own: use a table"
            return [] if competition.has_label_column else [("label", message)]
        may_be_several = competition.target.kind == "multi_label" and competition.has_label_column
        if may_be_several or not competition.has_classes or self.label in competition.labels:
            return []
        return [("label", f"{self.label!r} is not a class{nearest(self.label, competition.labels)}")]
