"""Albumentations from a YAML list, seeded by row, and checked before anything starts.

augmentation:
  - HorizontalFlip
  - Rotate: {limit: 10, p: 0.5}
  - RandomResizedCrop: {size: image_size, scale: [0.8, 1.0]}     # image_size stands for the stage's own
  - OneOf: {p: 0.3, transforms: [GaussNoise, {GaussianBlur: {blur_limit: [3, 5]}}]}
"""

import copy
import os
import random
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks a server for its newest version on import

import albumentations

from podium.config.problems import nearest
from podium.data.boxes import LEAST_LEFT, Boxes
from podium.data.images import Image
from podium.errors import ConfigError

_CHECKED_AT, _REHEARSED_UP_TO = 32, 2048


class Augmentation:
    """A list of transforms whose randomness comes from the seed it is called with, in any thread."""

    def __init__(self, transforms: Iterable[Any], image_size: int, *, takes_boxes: bool = False) -> None:
        self._written, self._takes_boxes = (list(transforms), image_size), takes_boxes
        built = [build_transform(transform, image_size) for transform in self._written[0]]
        boxes = albumentations.BboxParams("pascal_voc", clip=True, min_visibility=LEAST_LEFT) if takes_boxes else None
        self._compose = albumentations.Compose(built, boxes, strict=True) if built else None
        self._of_thread = threading.local()  # a Compose carries the state of its random numbers

    def __reduce__(self) -> Any:
        """Another process builds its own."""
        return _built_again, (*self._written, self._takes_boxes)

    def _own_compose(self) -> Any:
        """This thread's copy: building anew would check anew, and threads cannot catch warnings apart."""
        if not hasattr(self._of_thread, "compose"):
            self._of_thread.compose = copy.deepcopy(self._compose)
        return self._of_thread.compose

    def __call__(self, image: Image, seed: int) -> Image:
        changed: Image = self._changed(seed, image=image)["image"]
        return changed

    def with_boxes(self, image: Image, boxes: Boxes, seed: int) -> tuple[Image, Boxes]:
        """Boxes in pixels, and what stands behind their corners. Those of which little is left are gone."""
        changed = self._changed(seed, image=image, bboxes=boxes)
        return changed["image"], np.asarray(changed["bboxes"], np.float32).reshape(-1, boxes.shape[1])

    def _changed(self, seed: int, **given: Any) -> dict[str, Any]:
        if self._compose is None:
            return given
        image, compose = given["image"], self._own_compose()
        # One state for all: `set_random_seed` would give each transform the same numbers, so that flips come together.
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            made: dict[str, Any] = compose(**given)
        except Exception as error:
            needed = "the image and its boxes" if self._takes_boxes else "the image alone"
            raise ConfigError(
                f"the augmentation failed on an image of {image.shape[1]}×{image.shape[0]} pixels"
                f" ({type(error).__name__}: {_first_reason(error)}); take transforms that need {needed}"
            ) from error
        changed = made["image"]
        if changed.dtype != image.dtype:
            raise ConfigError(
                f"the augmentation turned {image.dtype} into {changed.dtype}; leave out what scales the values:"
                " the model does that itself"
            )
        if changed.shape != image.shape:
            raise ConfigError(
                f"the augmentation turned {image.shape[1]}×{image.shape[0]} pixels into"
                f" {changed.shape[1]}×{changed.shape[0]}; give a transform that sets a size `size: image_size`"
            )
        return made


def _built_again(transforms: list[Any], image_size: int, takes_boxes: bool) -> Augmentation:
    return Augmentation(transforms, image_size, takes_boxes=takes_boxes)


def build_transform(written: Any, image_size: int) -> Any:
    """The transform that `HorizontalFlip` or `{Rotate: {limit: 10}}` names."""
    name, arguments = _name_and_arguments(written)
    found = getattr(albumentations, name, None) if isinstance(name, str) else None
    if not (isinstance(found, type) and issubclass(found, albumentations.BasicTransform | albumentations.BaseCompose)):
        raise ConfigError(f"{name!r} is no transform of Albumentations{nearest(str(name), _known_transforms())}")
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"{name} takes arguments by name, such as {{p: 0.5}}: got {arguments!r}")
    given = {key: _sized(key, value, image_size) for key, value in arguments.items()}
    if "transforms" in given:
        parts = given["transforms"]
        if not isinstance(parts, list) or not parts:
            raise ConfigError(f"{name} takes a list of transforms: got {parts!r}")
        given["transforms"] = [build_transform(part, image_size) for part in parts]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            transform = found(**given)
        except (
            ValueError,
            TypeError,
            AttributeError,
            NotImplementedError,
        ) as error:  # what transforms raise of their arguments
            raise ConfigError(f"{name}: {_first_reason(error)}") from None
    unknown = [str(warning.message) for warning in caught if "not valid" in str(warning.message)]
    if unknown:  # the library only warns
        names = [key for key in given if key in unknown[0]]
        raise ConfigError(
            f"{name} has no argument {', '.join(names)}{nearest(names[0] if names else '', _arguments(found))}"
        )
    return transform


def _name_and_arguments(written: Any) -> tuple[Any, Any]:
    if isinstance(written, str):
        return written, {}
    if not isinstance(written, Mapping) or len(written) != 1:
        raise ConfigError(
            f"a transform is a name, or one with its arguments as in Rotate: {{limit: 10}}: got {written!r}"
        )
    return next(iter(written.items()))


def _sized(key: str, value: Any, image_size: int) -> Any:
    if value == "image_size":
        return (image_size, image_size) if key == "size" else image_size
    if isinstance(value, list) and key != "transforms":
        return tuple(_sized("", part, image_size) for part in value)
    return value


def _first_reason(error: Exception) -> str:
    """Pydantic's errors run over lines: the argument's name and the reason are enough."""
    lines = [line.strip() for line in str(error).splitlines()]
    if len(lines) > 2 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].split(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__


def _known_transforms() -> list[str]:
    return [
        name
        for name in dir(albumentations)
        if isinstance(found := getattr(albumentations, name), type)
        and issubclass(found, albumentations.BasicTransform | albumentations.BaseCompose)
    ]


def _arguments(transform: type) -> list[str]:
    import inspect

    return [name for name in inspect.signature(transform).parameters if name != "self"]


def transform_problems(member: Mapping[str, Any], *, takes_boxes: bool = False) -> list[tuple[str, str]]:
    """Every problem in a member file's transforms, by key: those of its augmentation, its stages and its views. A
    detector's take boxes along."""
    stages = member.get("stages")
    stages = [stage if isinstance(stage, dict) else {} for stage in stages] if isinstance(stages, list) else []
    common = [stage for stage in stages if stage.get("augmentation") is None]
    places = _written(member.get("augmentation"), "augmentation", common)
    for number, stage in enumerate(stages):
        places += _written(stage.get("augmentation"), f"stages.{number}.augmentation", [stage])
    tta = member.get("tta")
    views, key = (tta.get("views"), "tta.views") if isinstance(tta, dict) else (tta, "tta")
    for place, view, _ in _written(views, key, stages):
        places += _written(view, place, stages) if isinstance(view, list) else [(place, view, stages)]
    problems = []
    for place, transform, its_stages in places:
        try:
            if _looks_like_a_transform(transform):  # anything else is the schema's to tell
                _rehearse(transform, [stage.get("image_size") for stage in its_stages], takes_boxes)
        except ConfigError as error:
            problems.append((place, str(error)))
    return problems


def _written(transforms: Any, key: str, stages: list[Any]) -> list[tuple[str, Any, list[Any]]]:
    """Each transform of a list with its key and the stages that use it."""
    parts = transforms if isinstance(transforms, list) else []
    return [(f"{key}.{number}", part, stages) for number, part in enumerate(parts)]


def _rehearse(transform: Any, image_sizes: Sequence[Any], takes_boxes: bool) -> None:
    """Apply it once, surely, to an image of noise at each of these sizes: some problems show only then."""
    build_transform(transform, _CHECKED_AT)
    name, arguments = _name_and_arguments(transform)
    surely = {name: {**arguments, "p": 1.0}}
    # A size that is no size is the schema's to tell.
    sizes = {size for size in image_sizes if isinstance(size, int) and 8 <= size <= _REHEARSED_UP_TO}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for size in sorted(sizes or {_CHECKED_AT}):
            noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
            augmentation = Augmentation([surely], size, takes_boxes=takes_boxes)
            if takes_boxes:
                augmentation.with_boxes(noise, np.array([[1, 1, size - 1, size - 1]], np.float32), seed=0)
            else:
                augmentation(noise, seed=0)


def _looks_like_a_transform(part: Any) -> bool:
    name = next(iter(part)) if isinstance(part, dict) and len(part) == 1 else part
    return isinstance(name, str) and name[:1].isupper()
