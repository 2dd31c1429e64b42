"""Albumentations from a YAML list, seeded by row, and checked before anything starts.

augmentation:
  - HorizontalFlip
  - Rotate: {limit: 10, p: 0.5}
  - RandomResizedCrop: {size: image_size, scale: [0.8, 1.0]}     # image_size stands for the stage's own
  - OneOf: {p: 0.3, transforms: [GaussNoise, {GaussianBlur: {blur_limit: [3, 5]}}]}
"""

import os
import threading
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks a server for its newest version on import

import albumentations

from podium.config.faults import nearest
from podium.data.pictures import Picture
from podium.errors import ConfigError

_CHECKED_AT = 64


class Augmentation:
    """A list of transforms whose randomness comes from the seed it is called with, in any thread."""

    def __init__(self, transforms: Iterable[Any], image_size: int) -> None:
        self._transforms = list(transforms)
        self._image_size = image_size
        self._of_thread = threading.local()  # a Compose carries the state of its random numbers
        self._compose()

    def _compose(self) -> Any:
        compose = getattr(self._of_thread, "compose", None)
        if compose is None:
            built = [build_transform(transform, self._image_size) for transform in self._transforms]
            compose = self._of_thread.compose = albumentations.Compose(built, strict=True)
        return compose

    def __call__(self, picture: Picture, seed: int) -> Picture:
        if not self._transforms:
            return picture
        compose = self._compose()
        compose.set_random_seed(seed)
        changed: Picture = compose(image=picture)["image"]
        if changed.shape != picture.shape:
            raise ConfigError(
                f"the augmentation turned {picture.shape[1]}×{picture.shape[0]} pixels into"
                f" {changed.shape[1]}×{changed.shape[0]}; give a transform that sets a size `size: image_size`"
            )
        return changed


def build_transform(written: Any, image_size: int) -> Any:
    """The transform that `HorizontalFlip` or `{Rotate: {limit: 10}}` names."""
    name, arguments = (written, {}) if isinstance(written, str) else next(iter(written.items()))
    found = getattr(albumentations, name, None) if isinstance(name, str) else None
    if not (isinstance(found, type) and issubclass(found, albumentations.BasicTransform | albumentations.BaseCompose)):
        raise ConfigError(f"{name!r} is no transform of Albumentations{nearest(str(name), _known_transforms())}")
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"{name} takes arguments by name, such as {{p: 0.5}}: got {arguments!r}")
    given = {key: _sized(key, value, image_size) for key, value in arguments.items()}
    if "transforms" in given:
        given["transforms"] = [build_transform(part, image_size) for part in given["transforms"]]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            transform = found(**given)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{name}: {_first_reason(error)}") from None
    unknown = [str(warning.message) for warning in caught if "not valid" in str(warning.message)]
    if unknown:  # the library only warns
        names = [key for key in given if key in unknown[0]]
        raise ConfigError(
            f"{name} has no argument {', '.join(names)}{nearest(names[0] if names else '', _arguments(found))}"
        )
    return transform


def _sized(key: str, value: Any, image_size: int) -> Any:
    if value == "image_size":
        return (image_size, image_size) if key == "size" else image_size
    return tuple(value) if isinstance(value, list) and key != "transforms" else value


def _first_reason(error: Exception) -> str:
    """Pydantic's errors run over lines: the argument's name and the reason are enough."""
    lines = [line.strip() for line in str(error).splitlines()]
    if len(lines) > 2 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].split(' [type=')[0]}"
    return lines[0]


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


def transform_faults(member: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every fault in a member file's transforms, by key: those of its augmentation, its stages and its views."""
    places = _written(member.get("augmentation"), "augmentation")
    stages = member.get("stages")
    for number, stage in enumerate(stages if isinstance(stages, list) else []):
        if isinstance(stage, dict):
            places += _written(stage.get("augmentation"), f"stages.{number}.augmentation")
    tta = member.get("tta")
    views, key = (tta.get("views"), "tta.views") if isinstance(tta, dict) else (tta, "tta")
    for place, view in _written(views, key):
        places += _written(view, place) if isinstance(view, list) else [(place, view)]
    faults = []
    for place, transform in places:
        try:
            if _looks_like_a_transform(transform):  # anything else is the schema's to tell
                build_transform(transform, _CHECKED_AT)
        except ConfigError as error:
            faults.append((place, str(error)))
    return faults


def _written(transforms: Any, key: str) -> list[tuple[str, Any]]:
    return [(f"{key}.{number}", part) for number, part in enumerate(transforms)] if isinstance(transforms, list) else []


def _looks_like_a_transform(part: Any) -> bool:
    name = next(iter(part)) if isinstance(part, dict) and len(part) == 1 else part
    return isinstance(name, str) and name[:1].isupper()
