"""The schema of a detector file: where its boxes come from, which of them are kept, how images are split; and how it
is trained, which is `DetectorTraining`."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, field_validator, model_validator

from podium.config.competition import ShareFolds, checked_pattern
from podium.config.kaggle_place import DataAtKaggle, KaggleKind, source_of
from podium.config.problems import raise_key_problems
from podium.config.settings import Settings, short_form
from podium.detection.training_config import DetectorTraining

NAMED_ADDRESSES = ("original", "thumbnail")
"""Columns of Open Images' table of images that hold addresses: OriginalURL and Thumbnail300KURL."""


def _several(value: Any) -> Any:
    """A text alone stands for a list of one."""
    return [value] if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(_several), Field(min_length=1)]


class Fetch(Settings):
    """Images that the folder lacks come from these addresses, each tried until one serves."""

    addresses: Texts = ["original", "thumbnail"]
    """original, thumbnail, or an address such as https://host/{subset}/{id}.jpg."""
    at_once: Annotated[int, Field(ge=1, le=64)] = 8

    @field_validator("addresses")
    @classmethod
    def _known(cls, addresses: list[str]) -> list[str]:
        for address in addresses:
            if address.startswith(("https://", "http://")):
                checked_pattern(address, {"id", "subset"})
            elif address not in NAMED_ADDRESSES:
                raise ValueError(
                    f"expected original, thumbnail, or an address such as https://host/{{subset}}/{{id}}.jpg:"
                    f" got {address!r}"
                )
        return addresses


class OpenImagesSource(Settings):
    """A download of Open Images. Names are seen from the data folder."""

    kind: Literal["openimages"]
    boxes: str = "oidv6-train-annotations-bbox.csv"
    classes: str = "class-descriptions-boxable.csv"
    image_table: str | None = "train-images-boxable-with-rotation.csv"
    """The table that knows how images are turned and where they come from; null where there is none."""
    urls: list[str] = []
    """Parts of the list of addresses, with sizes and checksums: open-images-dataset-train0.tsv and so on."""
    images: Texts = ["images/{id}.jpg"]
    """Where an image is. Folders may hold `*`, as in `train/*/{id}.jpg`; the first place that has it counts."""
    fetch: Fetch | None = None
    """Left out, nothing is fetched: boxes of images that are not there are left out."""

    @field_validator("images")
    @classmethod
    def _inside(cls, images: list[str]) -> list[str]:
        for pattern in images:
            checked_pattern(pattern, {"id"})
            if "{id}" not in PurePosixPath(pattern).name or "*" in PurePosixPath(pattern).name:
                raise ValueError(f"{{id}} belongs into the file's name, and * only into its folders: got {pattern!r}")
        return images

    @model_validator(mode="after")
    def _can_be_fetched(self) -> Self:
        problems = []
        if self.fetch and "*" in self.images[0]:
            problems.append(
                ("images", f"what is fetched goes to the first place, which says no folder: {self.images[0]}")
            )
        needs_table = (
            not self.fetch or set(self.fetch.addresses) & set(NAMED_ADDRESSES) or "{subset}" in str(self.fetch)
        )
        if self.fetch and self.image_table is None and needs_table:
            problems.append(("fetch", "original, thumbnail and {subset} are columns of the table of images: name it"))
        if self.urls and not self.fetch:
            problems.append(("urls", "addresses are for what is fetched: add fetch, or leave urls out"))
        raise_key_problems(problems)
        return self


class FolderSource(Settings):
    """A set in another form: text files of YOLO, XML files of Pascal VOC, or JSON files of COCO."""

    kind: Literal["yolo", "voc", "coco"]
    folder: str = "."
    """Seen from the data folder, or absolute. Of COCO it may be one file."""


Source = Annotated[OpenImagesSource | FolderSource, Field(discriminator="kind"), short_form("kind")]


class SourceSplit(Settings):
    """The split that the set came with."""

    kind: Literal["source"]


def _shares_unless_said(value: Any) -> Any:
    return {"kind": "shares", **value} if isinstance(value, dict) else value


Split = Annotated[
    ShareFolds | SourceSplit, Field(discriminator="kind"), BeforeValidator(_shares_unless_said), short_form("kind")
]


class Keep(Settings):
    """Boxes that carry such a flag: whether they are kept."""

    group: bool = False
    """One box around more than five objects that touch."""
    depiction: bool = False
    """A drawing or a statue of the object."""
    inside: bool = False
    """The image was taken inside the object."""
    occluded: bool = True
    truncated: bool = True


def _count_or_share(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"expected how many, such as 200, or a share of the others, such as 0.1: got {value!r}")
    return value


class DetectorSettings(DetectorTraining):
    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: str = ""
    data_at_kaggle: DataAtKaggle = None
    source: Source
    classes: dict[str, Texts] = {}
    """A class, and the source's names that it takes together; a list where each is its own. All of the source's where
    left out, which Open Images, with its 600, does not allow."""
    keep: Keep = Keep()
    split: Split = ShareFolds(kind="shares")
    empty_images: Annotated[int | float, PlainValidator(_count_or_share)] | None = None
    """Images without any box of the classes: how many, or as a share of those with boxes. Left out, a set in a folder
    keeps all of its own, and of Open Images there are none."""

    @property
    def kaggle_source(self) -> tuple[KaggleKind, str] | None:
        """What a kernel has to attach for the data; None where nothing says so."""
        return source_of(self.data_at_kaggle)

    @field_validator("classes", mode="before")
    @classmethod
    def _class_names(cls, classes: Any) -> Any:
        if not isinstance(classes, list):
            return classes
        names = [name for name in classes if isinstance(name, str)]
        if len(names) < len(classes):
            raise ValueError("a class is text, exactly as the source spells it: write numbers in quotes")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"a class stands twice: {', '.join(twice)}; keep one")
        return {name: [name] for name in names}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        taken: dict[str, str] = {}
        for name, sources in self.classes.items():
            for source in sources:
                if source in taken:
                    problems.append((f"classes.{name}", f"{source!r} is part of {taken[source]!r} already; keep one"))
                taken[source] = name
        is_open_images = isinstance(self.source, OpenImagesSource)
        if is_open_images and not self.classes:
            problems.append(("classes", "which of Open Images' 600 classes? Such as [Boat, Canoe]"))
        if is_open_images and isinstance(self.split, SourceSplit):
            problems.append(("split", "a table of Open Images is one subset whole: give shares, or leave split out"))
        if isinstance(self.source, OpenImagesSource) and self.empty_images and self.source.image_table is None:
            problems.append(("empty_images", "which images there are says source.image_table: name that table"))
        raise_key_problems(problems)
        return self
