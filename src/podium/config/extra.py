"""The schema of what a member trains on beside the rows and labels of its competition."""

from pathlib import PurePath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from podium.config.competition import Competition
from podium.config.kaggle_names import KaggleSource, is_at_kaggle
from podium.config.patterns import Pattern
from podium.config.problems import nearest, raise_key_problems
from podium.config.settings import Positive, Settings
from podium.config.submission import as_label


def is_place_of_labels(place: str) -> str:
    """Return the name or the place of an ensemble's labels, or raise a ValueError."""
    if is_at_kaggle(place) and not KaggleSource.parse(place):
        raise ValueError(f"expected kaggle-dataset:<owner>/<slug>, got {place!r}")
    if place.endswith((".yaml", ".yml")):
        name = PurePath(place).stem
        raise ValueError(f"expected the name of the ensemble, got its file: write {name}, and run podium pseudo first")
    return place


Labels = Annotated[str, AfterValidator(is_place_of_labels)]
"""Labels by an ensemble."""


class Extra(Settings):
    """More rows to train on, which no fold validates on: a table, images of one label, or pseudo-labels.

    `table` and `images` are relative to the competition's data folder, absolute, or at Kaggle as
    `kaggle-dataset:<owner>/<slug>/<path>`.
    """

    pseudo: Labels | None = None
    """The test images with labels by an ensemble, which `podium pseudo` made: its name, their folder, or
    `kaggle-dataset:<owner>/<slug>`."""
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
        if sum(key is not None for key in (self.pseudo, self.table, self.label)) != 1:
            problems.append(("", "expected one of the keys pseudo, table and label"))
        if self.pseudo is not None:
            problems += [("images", "pseudo-labels are of the test images: remove it")] if self.images else []
        elif self.images is None:
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


class Teacher(Settings):
    """Labels between the truth and an ensemble's predictions of the same rows, by models that have not seen them."""

    ensemble: Labels
    """An ensemble for which `podium pseudo` was run: its name, the folder in runs/pseudo, or
    `kaggle-dataset:<owner>/<slug>`."""
    weight: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """The share of the ensemble in each label."""
    temperature: Positive = 1.0
    """Divides the logits of the ensemble; above 1 its predictions are flatter."""

    def problems_with(self, kind: str) -> list[tuple[str, str]]:
        if kind == "regression" and self.temperature != 1.0:
            return [("temperature", "numbers have no temperature: remove it")]
        return []


class HardExamples(Settings):
    """Rows whose out-of-fold answer by an ensemble is wrong occur several times in each epoch."""

    ensemble: Labels
    """As in `teacher`."""
    times: Annotated[int, Field(ge=2)] = 2
    """How often each of them occurs; other rows occur once."""

    def problems_with(self, kind: str) -> list[tuple[str, str]]:
        if kind in ("regression", "soft_label"):
            return [("", f"predictions of {kind} are not right or wrong: remove it")]
        return []
