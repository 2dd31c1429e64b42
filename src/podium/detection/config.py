"""The schema of a detector file: where its images and boxes come from, the model, and how it is trained."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, field_validator, model_validator

from podium.config.backbone_settings import BackboneChoice, BackboneSettings
from podium.config.folds import ShareFolds
from podium.config.kaggle_names import DataAtKaggle, KaggleKind, Slug, source_of
from podium.config.patterns import checked_pattern
from podium.config.problems import raise_key_problems, repeated
from podium.config.settings import NotInDigest, Positive, Settings, short_form
from podium.config.stage import Stage, TrainingSettings

SPLITS = ("train", "validation", "test")
CORNERS = ("left", "top", "right", "bottom")
OPEN_IMAGES_URLS = ("original", "thumbnail")
"""The columns OriginalURL and Thumbnail300KURL of Open Images' image table."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]


# Where images and boxes come from


class Fetch(Settings):
    """Where to download missing images from; each URL is tried until one works."""

    addresses: Texts = ["original", "thumbnail"]
    """original, thumbnail, or a URL pattern such as https://host/{subset}/{id}.jpg."""
    at_once: Annotated[int, Field(ge=1, le=64)] = 8
    """The number of downloads at the same time."""

    @field_validator("addresses")
    @classmethod
    def _check_addresses(cls, addresses: list[str]) -> list[str]:
        for address in addresses:
            if address.startswith(("https://", "http://")):
                checked_pattern(address, {"id", "subset"})
            elif address not in OPEN_IMAGES_URLS:
                raise ValueError(
                    "expected original, thumbnail or a URL pattern such as https://host/{subset}/{id}.jpg,"
                    f" got {address!r}"
                )
        return addresses


class OpenImagesSource(Settings):
    """A download of Open Images. Paths are relative to the data folder."""

    kind: Literal["openimages"]
    boxes: str = "oidv6-train-annotations-bbox.csv"
    """The table of boxes."""
    classes: str = "class-descriptions-boxable.csv"
    """The table of class codes and names."""
    image_table: str | None = "train-images-boxable-with-rotation.csv"
    """The table with the rotation and the URLs of each image; null if there is none."""
    urls: list[str] = []
    """Lists of URLs with sizes and checksums: open-images-dataset-train0.tsv and so on."""
    images: Texts = ["images/{id}.jpg"]
    """Patterns for image files. Folders may contain `*`, as in `train/*/{id}.jpg`; the first match is used."""
    fetch: Fetch | None = None
    """If omitted, nothing is downloaded, and boxes of missing images are left out."""

    @field_validator("images")
    @classmethod
    def _check_images(cls, images: list[str]) -> list[str]:
        for pattern in images:
            checked_pattern(pattern, {"id"})
            if "{id}" not in PurePosixPath(pattern).name or "*" in PurePosixPath(pattern).name:
                raise ValueError(f"expected {{id}} in the file name and * in folder names only, got {pattern!r}")
        return images

    @model_validator(mode="after")
    def _check_fetch(self) -> Self:
        problems = []
        if self.fetch and "*" in self.images[0]:
            problems.append(
                ("images", f"images are downloaded to the first pattern, which must not contain *: {self.images[0]}")
            )
        if self.fetch and self.image_table is None:
            uses_table = set(self.fetch.addresses) & set(OPEN_IMAGES_URLS) or "{subset}" in str(self.fetch)
            if uses_table:
                problems.append(("fetch", "original, thumbnail and {subset} need the image table: set image_table"))
        if self.urls and not self.fetch:
            problems.append(("urls", "URLs are only used for downloads: add fetch, or remove urls"))
        raise_key_problems(problems)
        return self


class FolderSource(Settings):
    """A dataset in another format: YOLO text files, Pascal VOC XML files or COCO JSON files."""

    kind: Literal["yolo", "voc", "coco"]
    folder: str = "."
    """Relative to the data folder, or absolute. For COCO it may be a single file."""


Source = Annotated[OpenImagesSource | FolderSource, Field(discriminator="kind"), short_form("kind")]


class SourceSplit(Settings):
    """Use the split of the source dataset."""

    kind: Literal["source"]


def _as_shares(value: Any) -> Any:
    return {"kind": "shares", **value} if isinstance(value, dict) else value


Split = Annotated[
    ShareFolds | SourceSplit, Field(discriminator="kind"), BeforeValidator(_as_shares), short_form("kind")
]


class Keep(Settings):
    """Which boxes with these flags are kept."""

    group: bool = False
    """One box around more than five touching objects."""
    depiction: bool = False
    """A drawing or a statue of the object."""
    inside: bool = False
    """The photo was taken inside the object."""
    occluded: bool = True
    """The object is hidden in part."""
    truncated: bool = True
    """The object extends beyond the image."""


def _count_or_share(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(f"expected a count such as 200 or a share such as 0.1, got {value!r}")
    return value


# The model

STRIDE = 32
"""Of the coarsest features of the backbone."""
LEVELS = (3, 4, 5)
"""Feature levels taken from the backbone: strides 8, 16 and 32."""


class Anchors(Settings):
    size: Positive = 4.0
    """In strides: 4 makes anchors of 32 pixels on the finest level, doubling with each level."""
    scales: Annotated[int, Field(ge=1, le=5)] = 3
    """Sizes per level."""
    ratios: Annotated[list[Positive], Field(min_length=1)] = [0.5, 1.0, 2.0]
    """Height to width."""


class DetectionHead(Settings):
    layers: Annotated[int, Field(ge=1, le=8)] = 4
    """Convolutions before the output layer, in the class head and in the box head."""
    norm: bool = True
    """GroupNormalization after each; without it, random weights hardly train."""


# The file


class DetectorSettings(TrainingSettings):
    slug: Annotated[Slug, NotInDigest]
    """The name of the dataset: its data is in `data/<slug>`."""
    title: Annotated[str, NotInDigest] = ""
    """A name for messages."""
    data_at_kaggle: Annotated[DataAtKaggle, NotInDigest] = None
    """Where Kaggle has the data, such as `kaggle-dataset:<owner>/<slug>`."""
    source: Annotated[Source, NotInDigest]
    """Where the images and boxes come from, and their format."""
    classes: Annotated[dict[str, Texts], NotInDigest] = {}
    """Class name: the source's class names that it combines; or a list of the source's names. Default: all classes of
    the source, except for Open Images, where it is required."""
    keep: Annotated[Keep, NotInDigest] = Keep()
    """Which boxes with the flags of Open Images are kept."""
    split: Annotated[Split, NotInDigest] = ShareFolds(kind="shares")
    """The shares of images for training, validation and the test, or the split of the source."""
    empty_images: Annotated[Annotated[int | float, PlainValidator(_count_or_share)] | None, NotInDigest] = None
    """Images without boxes: a count, or a share of the images with boxes. Default: none from Open Images, all from
    other sources."""
    backbone: BackboneChoice = BackboneSettings(name="ResNet50")
    """The pretrained model below the detector, or a whole detector as a KerasHub preset."""
    levels: Annotated[int, Field(ge=5, le=7)] = 7
    """The coarsest level of the feature pyramid. A RetinaNet preset has its own."""
    anchors: Anchors = Anchors()
    """The sizes and shapes of the boxes that predictions start from."""
    head: DetectionHead = DetectionHead()
    """The layers that predict classes and boxes."""
    box_weight: Positive = 10.0
    """Weight of the box loss relative to the class loss."""
    resize: Literal["squash", "pad"] = "pad"
    """How an image becomes square: change its aspect ratio, or pad it."""
    stages: list[Stage] = []
    """May be empty in a file that only builds a dataset."""
    monitor: Literal["ap50", "ap", "iou"] = "ap50"
    """The validation metric that selects the best weights."""

    @property
    def kaggle_source(self) -> tuple[KaggleKind, str] | None:
        """The dataset, kernel or competition that a Kaggle kernel attaches for the data."""
        return source_of(self.data_at_kaggle)

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_from_list(cls, classes: Any) -> Any:
        if not isinstance(classes, list):
            return classes
        names = [name for name in classes if isinstance(name, str)]
        if len(names) < len(classes):
            raise ValueError("expected class names as text, spelled as in the source: put numbers in quotes")
        if duplicates := repeated(names):
            raise ValueError(f"duplicate class: {', '.join(duplicates)}")
        return {name: [name] for name in names}

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        problems = []
        used_by: dict[str, str] = {}
        for name, sources in self.classes.items():
            for source in sources:
                if source in used_by:
                    problems.append((f"classes.{name}", f"{source!r} is already part of {used_by[source]!r}"))
                used_by[source] = name
        if isinstance(self.source, OpenImagesSource):
            if not self.classes:
                problems.append(("classes", "required for Open Images, such as [Boat, Canoe]"))
            if isinstance(self.split, SourceSplit):
                problems.append(("split", "Open Images tables have no split: give shares, or remove split"))
            if self.empty_images and self.source.image_table is None:
                problems.append(("empty_images", "needs the list of images: set source.image_table"))
        if self.backbone.channels != "mean":
            problems.append(("backbone.channels", "a detector takes images of three channels: remove it"))
        raise_key_problems(problems)
        return self

    def problems_of_stage(self, stage: Stage) -> list[tuple[str, str]]:
        minimum = self.backbone.minimum_size
        problems = []
        if stage.image_size % STRIDE or stage.image_size < minimum:
            expected = f"a multiple of {STRIDE}" + (f", at least {minimum}" * (minimum > STRIDE))
            problems.append(("image_size", f"expected {expected}, got {stage.image_size}"))
        given = [key for key in ("views", "mixup", "cutmix") if getattr(stage, key) is not None]
        return problems + [(key, "not supported for detectors: remove it") for key in given]


# Cropping

CropMethod = Literal["crop", "blur", "grey", "black"]
BoxChoice = Literal["score", "size", "both"]


@dataclass(frozen=True)
class CropOptions:
    class_name: str
    method: CropMethod = "crop"
    choose: BoxChoice = "both"
    """Which box is the object: the highest score, the largest box, or the highest product of score and area."""
    threshold: float = 0.3
    margin: float = 0.1
    """Added on each side, as a share of the box's width and height."""
    square: bool = False
    size: int | None = None
    """Images with a longer side than this are shrunk to it."""
