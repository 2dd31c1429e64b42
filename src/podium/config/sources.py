"""The schema of a competition's images: where those to train on and those to predict are."""

from typing import Self

from pydantic import field_validator, model_validator

from podium.config.patterns import DataTable, Pattern, checked_image_pattern
from podium.config.problems import raise_key_problems
from podium.config.settings import Settings

DEFAULT_LABEL = "Category"
"""The default column of labels."""


class TrainSource(Settings):
    """Labelled images: the rows of a table or, without a table, the files in one folder per class."""

    table: DataTable | None = None
    """A CSV file in the data folder."""
    id: str = "Id"
    """The column of image ids."""
    label: str = DEFAULT_LABEL
    """The column of labels; unused where each class or each number has a column of its own."""
    group: str | None = None
    """The column that grouped folds keep together."""
    images: str
    """The path of an image, such as `train/{label}/{id}`: {id}, {label} and any column of the table; `**` for any
    number of folders. If it ends with {id}, the ids may lack the extension."""

    @field_validator("images")
    @classmethod
    def _is_pattern(cls, images: str) -> str:
        return checked_image_pattern(images)

    @model_validator(mode="after")
    def _has_labels(self) -> Self:
        problems = []
        if self.table is None and "{label}" not in self.images:
            problems.append(("images", "without a table the folder is the class: expected {label} in images"))
        others = set(Pattern.of(self.images).fields) - {"id", "label", "channel"}
        if self.table is None and others:
            problems.append(("images", f"{{{min(others)}}} is a column of a table: add the table, or remove it"))
        if self.table is None and self.group is not None:
            problems.append(("group", "group is a column of a table: add the table, or remove group"))
        raise_key_problems(problems)
        return self


class ExtraSource(TrainSource):
    """More labelled images, which every fold trains on and none validates on."""

    folder: str
    """Relative to the competition's data folder, or absolute."""


class TestSource(Settings):
    """The test images; their ids are those of the sample submission."""

    images: str
    """The path of a test image, such as `test_upload/{id}`: {id} and any column of the table; `**` as in `train`."""
    table: DataTable | None = None
    """A CSV file in the data folder with more columns of the test images."""
    id: str | None = None
    """The column of image ids in the table; by default that of the sample submission."""

    @field_validator("images")
    @classmethod
    def _is_pattern(cls, images: str) -> str:
        if "label" in Pattern.of(checked_image_pattern(images)).fields:
            raise ValueError(f"a test image has no label: expected {{id}} and columns of test.table, got {images!r}")
        return images

    @model_validator(mode="after")
    def _has_table(self) -> Self:
        problems = []
        others = set(Pattern.of(self.images).fields) - {"id", "channel"}
        if self.table is None and others:
            problems.append(("images", f"{{{min(others)}}} is a column of a table: add test.table, or remove it"))
        if self.table is None and self.id is not None:
            problems.append(("id", "id is a column of a table: add the table, or remove id"))
        raise_key_problems(problems)
        return self
