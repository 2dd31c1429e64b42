"""Views of an image for a model: plain, or augmented with Albumentations transforms from a YAML list.

augmentation:
  - HorizontalFlip
  - Rotate: {limit: 10, p: 0.5}
  - RandomResizedCrop: {size: image_size, scale: [0.8, 1.0]}     # image_size is the image size of the stage
  - OneOf: {p: 0.3, transforms: [GaussNoise, {GaussianBlur: {blur_limit: [3, 5]}}]}
  - TrivialAugment                       # podium's own, as is RandAugment: {n: 2, magnitude: 9}
"""

import copy
import inspect
import os
import pickle
import random
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # on import it would check online for updates

import albumentations

from podium.config.problems import nearest
from podium.config.reading import RGB
from podium.data.boxes import MIN_VISIBILITY, Boxes, ImageBoxes, to_square
from podium.data.image_cache import ImageLocation, reader_of_thread
from podium.data.images import Image, Resize, Scaling, cut_square, scale_square
from podium.data.random_operations import rand_augment, trivial_augment
from podium.errors import ConfigError

_OWN: dict[str, Callable[..., Any]] = {"RandAugment": rand_augment, "TrivialAugment": trivial_augment}
_TEST_SIZE, _LARGEST_TEST_SIZE = 32, 2048
"""Image sizes at which transforms are tested."""


class ImageView(Protocol):
    """Turns a scaled image into a model input of `size` × `size` pixels. Must be picklable."""

    @property
    def scaling(self) -> Scaling: ...

    @property
    def size(self) -> int: ...

    def __call__(self, scaled: Image, row: int, epoch: int) -> Image: ...


@dataclass(frozen=True)
class PlainView:
    """The image without augmentation."""

    size: int
    resize: Resize

    @property
    def scaling(self) -> Scaling:
        return Scaling(self.size, self.resize)

    def __call__(self, scaled: Image, row: int, epoch: int) -> Image:
        return cut_square(scaled, self.size, self.resize)


@dataclass(frozen=True)
class TrainingView:
    """The image, augmented differently in each epoch."""

    size: int
    resize: Resize
    augmentation: "Augmentation"
    seed: tuple[int, ...]
    before: int | None = None
    """The size to augment at, if it is not that of the model's inputs."""

    @property
    def scaling(self) -> Scaling:
        return Scaling(self.before or self.size, self.resize)

    def __call__(self, scaled: Image, row: int, epoch: int) -> Image:
        image = cut_square(scaled, self.before or self.size, self.resize)
        return scale_square(self.augmentation(image, self._seed_of(row, epoch)), self.size)

    def with_boxes(self, scaled: Image, row: int, epoch: int, labelled: ImageBoxes) -> tuple[Image, Boxes]:
        """The augmented image and its boxes."""
        boxes = to_square(labelled.boxes, labelled.height, labelled.width, self.size, self.resize)
        image = cut_square(scaled, self.size, self.resize)
        return self.augmentation.with_boxes(image, boxes, self._seed_of(row, epoch))

    def _seed_of(self, row: int, epoch: int) -> int:
        return int(np.random.SeedSequence([*self.seed, epoch, row]).generate_state(1)[0])


class Views:
    """Some views, which are pickled once for all blocks."""

    def __init__(self, views: Iterable[ImageView]) -> None:
        self.each = tuple(views)
        self.scalings = [view.scaling for view in self.each]
        self._pickled = pickle.dumps(self.each)

    def __len__(self) -> int:
        return len(self.each)

    def __reduce__(self) -> Any:
        return _unpickle_views, (self._pickled,)


@lru_cache(maxsize=8)
def _unpickle_views(pickled: bytes) -> Views:
    return Views(pickle.loads(pickled))


@dataclass(frozen=True)
class Block:
    """Some rows to prepare in some views. `boxes` are those of the rows, if there are any; then there is a single
    TrainingView."""

    locations: Sequence[ImageLocation]
    rows: Sequence[int]
    epoch: int
    views: Views
    boxes: Sequence[ImageBoxes] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        size = self.views.each[0].size
        channels = self.locations[0].reading.channels if self.locations else RGB
        return len(self.rows) * len(self.views), size, size, channels

    def __call__(self, into: Image) -> list[Boxes]:
        """Write the images into an array: the views of the first row, those of the second, and so on. Returns the
        boxes."""
        read, moved, position = reader_of_thread(), list[Boxes](), 0
        for number, (location, row) in enumerate(zip(self.locations, self.rows, strict=True)):
            for view, scaled in zip(self.views.each, read(location, self.views.scalings), strict=True):
                if self.boxes is None:
                    into[position] = view(scaled, row, self.epoch)
                else:
                    assert isinstance(view, TrainingView)
                    into[position], boxes = view.with_boxes(scaled, row, self.epoch, self.boxes[number])
                    moved.append(boxes)
                position += 1
        return moved


class Augmentation:
    """A list of transforms. The result depends only on the inputs and the seed of each call, in any thread."""

    def __init__(self, transforms: Iterable[Any], image_size: int, *, takes_boxes: bool = False) -> None:
        self._arguments, self._takes_boxes = (list(transforms), image_size), takes_boxes
        self._size = (image_size, image_size)
        built = [build_transform(transform, image_size) for transform in self._arguments[0]]
        boxes = albumentations.BboxParams("pascal_voc", clip=True, min_visibility=MIN_VISIBILITY)
        self._compose = albumentations.Compose(built, boxes if takes_boxes else None, strict=True) if built else None
        self._of_thread = threading.local()  # a Compose contains its random state

    def __reduce__(self) -> Any:
        """Unpickling builds the transforms again."""
        return _rebuild, (*self._arguments, self._takes_boxes)

    def _compose_of_thread(self) -> Any:
        """A copy, since building the transforms validates them, and catching warnings is not thread-safe."""
        if not hasattr(self._of_thread, "compose"):
            self._of_thread.compose = copy.deepcopy(self._compose)
        return self._of_thread.compose

    def __call__(self, image: Image, seed: int) -> Image:
        augmented: Image = self._apply(seed, image=image)["image"]
        return augmented

    def with_boxes(self, image: Image, boxes: Boxes, seed: int) -> tuple[Image, Boxes]:
        """Boxes are in pixels, and may have more columns. Boxes that are mostly cropped away are dropped."""
        augmented = self._apply(seed, image=image, bboxes=boxes)
        return augmented["image"], np.asarray(augmented["bboxes"], np.float32).reshape(-1, boxes.shape[1])

    def _apply(self, seed: int, **inputs: Any) -> dict[str, Any]:
        if self._compose is None:
            return inputs
        image, compose = inputs["image"], self._compose_of_thread()
        # One state for all transforms: `set_random_seed` would give each the same numbers, so that flips coincide.
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            outputs: dict[str, Any] = compose(**inputs)
        except Exception as error:
            supported = "images and boxes" if self._takes_boxes else "an image alone"
            raise ConfigError(
                f"the augmentation failed for an image of {_size(image)} pixels"
                f" ({type(error).__name__}: {_first_reason(error)}); use transforms that work on {supported}"
            ) from error
        augmented = outputs["image"]
        if augmented.dtype != image.dtype:
            raise ConfigError(
                f"the augmentation changed {image.dtype} to {augmented.dtype}; remove transforms that scale the"
                " values: the model scales its inputs"
            )
        if augmented.shape[2] != image.shape[2] or augmented.shape[:2] not in (image.shape[:2], self._size):
            raise ConfigError(
                f"the augmentation changed {_size(image)} pixels to {_size(augmented)}; set `size: image_size` for"
                " transforms with a size"
            )
        return outputs


def _size(image: Image) -> str:
    """Width and height, and the channels if there are not three."""
    height, width, channels = image.shape
    return f"{width}×{height}" + f"×{channels}" * (channels != RGB)


def _rebuild(transforms: list[Any], image_size: int, takes_boxes: bool) -> Augmentation:
    return Augmentation(transforms, image_size, takes_boxes=takes_boxes)


def build_transform(item: Any, image_size: int) -> Any:
    """The transform of an item such as `HorizontalFlip` or `{Rotate: {limit: 10}}`."""
    name, arguments = _name_and_arguments(item)
    found: Any = _OWN.get(name) or getattr(albumentations, name, None) if isinstance(name, str) else None
    if name not in _OWN and not _is_transform(found):
        raise ConfigError(f"{name!r} is not a transform of Albumentations{nearest(str(name), _known_transforms())}")
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"{name}: expected named arguments such as {{p: 0.5}}, got {arguments!r}")
    given = {key: _replace_image_size(key, value, image_size) for key, value in arguments.items()}
    if "transforms" in given:
        parts = given["transforms"]
        if not isinstance(parts, list) or not parts:
            raise ConfigError(f"{name}: expected a list of transforms, got {parts!r}")
        given["transforms"] = [build_transform(part, image_size) for part in parts]
    known = list(inspect.signature(found).parameters)
    if unknown := [key for key in given if key not in known]:  # Albumentations only warns
        raise ConfigError(f"{name} has no argument {', '.join(unknown)}{nearest(unknown[0], known)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return found(**given)
        except (ValueError, TypeError, AttributeError, NotImplementedError) as error:  # all of them from arguments
            raise ConfigError(f"{name}: {_first_reason(error)}") from None


def _is_transform(found: Any) -> bool:
    kinds = albumentations.BasicTransform | albumentations.BaseCompose
    return isinstance(found, type) and issubclass(found, kinds)


def _known_transforms() -> list[str]:
    return [*_OWN, *(name for name in dir(albumentations) if _is_transform(getattr(albumentations, name)))]


def _name_and_arguments(item: Any) -> tuple[Any, Any]:
    if isinstance(item, str):
        return item, {}
    if not isinstance(item, Mapping) or len(item) != 1:
        raise ConfigError(
            f"expected a transform's name, or its name and arguments as in Rotate: {{limit: 10}}; got {item!r}"
        )
    return next(iter(item.items()))


def _replace_image_size(key: str, value: Any, image_size: int) -> Any:
    if value == "image_size":
        return (image_size, image_size) if key == "size" else image_size
    if isinstance(value, list) and key != "transforms":
        return tuple(_replace_image_size("", part, image_size) for part in value)
    return value


def _first_reason(error: Exception) -> str:
    """The argument and the reason, from pydantic's errors of several lines."""
    lines = [line.strip() for line in str(error).splitlines()]
    if len(lines) > 2 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].split(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__


def transform_problems(
    member: Mapping[str, Any], channels: int = RGB, *, takes_boxes: bool = False
) -> list[tuple[str, str]]:
    """Every problem with the transforms of a member file (augmentation, stages, views), with its key.

    `takes_boxes` is for detectors, whose transforms must move boxes too.
    """
    stages = member.get("stages")
    stages = [stage if isinstance(stage, dict) else {} for stage in stages] if isinstance(stages, list) else []
    inheriting = [stage for stage in stages if stage.get("augmentation") is None]
    places = _items(member.get("augmentation"), "augmentation", inheriting)
    for number, stage in enumerate(stages):
        places += _items(stage.get("augmentation"), f"stages.{number}.augmentation", [stage])
    tta = member.get("tta")
    views, key = (tta.get("views"), "tta.views") if isinstance(tta, dict) else (tta, "tta")
    for place, view, _ in _items(views, key, stages):
        places += _items(view, place, stages) if isinstance(view, list) else [(place, view, stages)]
    problems = []
    for place, item, its_stages in places:
        try:
            if _looks_like_a_transform(item):  # the schema reports anything else
                _test_transform(item, [stage.get("image_size") for stage in its_stages], channels, takes_boxes)
        except ConfigError as error:
            problems.append((place, str(error)))
    return problems


def _items(transforms: Any, key: str, stages: list[Any]) -> list[tuple[str, Any, list[Any]]]:
    """Each item of a list with its key and the stages that use it."""
    items = transforms if isinstance(transforms, list) else []
    return [(f"{key}.{number}", item, stages) for number, item in enumerate(items)]


def _test_transform(item: Any, image_sizes: Sequence[Any], channels: int, takes_boxes: bool) -> None:
    """Apply a transform, with p = 1, to noise of each of these sizes: some problems appear only there."""
    build_transform(item, _TEST_SIZE)
    name, arguments = _name_and_arguments(item)
    if name in _OWN and channels != RGB:
        raise ConfigError(f"{name} changes colours, and these images have {channels} channels: list single transforms")
    # The schema reports sizes that are not valid.
    sizes = {size for size in image_sizes if isinstance(size, int) and 8 <= size <= _LARGEST_TEST_SIZE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for size in sorted(sizes or {_TEST_SIZE}):
            noise = np.random.default_rng(0).integers(0, 256, (size, size, channels), dtype=np.uint8)
            augmentation = Augmentation([{name: {**arguments, "p": 1.0}}], size, takes_boxes=takes_boxes)
            if takes_boxes:
                augmentation.with_boxes(noise, np.array([[1, 1, size - 1, size - 1]], np.float32), seed=0)
            else:
                augmentation(noise, seed=0)


def _looks_like_a_transform(item: Any) -> bool:
    name = next(iter(item)) if isinstance(item, dict) and len(item) == 1 else item
    return isinstance(name, str) and name[:1].isupper()
