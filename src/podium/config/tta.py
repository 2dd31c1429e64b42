"""The schema of test-time augmentation: which views of an image are predicted, and how their answers are joined."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from podium.config.problems import nearest, raise_key_problems
from podium.config.settings import Settings

View = Any
"""`identity`, `horizontal_flip`, `{scale: 1.15}`, `{centre_crop: 0.9}`, `{corner_crops: 0.9}` (four views),
`{rotate: 8}`, `{brightness: 0.1}`, any Albumentations transform, or a list of these, done in turn."""

AUTO_VIEWS: list[View] = [
    "identity",
    "horizontal_flip",
    {"scale": 1.1},
    {"centre_crop": 0.85},
    {"rotate": 5},
    {"rotate": -5},
    {"brightness": 0.1},
]


class TestTimeViews(Settings):
    """`none`, `auto`, a list of views, or the whole form."""

    views: Annotated[list[View], Field(min_length=1)] = ["identity"]
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    select: Literal["all", "auto"] = "all"
    """`auto` keeps only the views that help, measured out of fold."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"views": value}
        if value == "none":
            return {}
        if value == "auto":
            return {"views": AUTO_VIEWS, "select": "auto"}
        if not isinstance(value, dict | TestTimeViews):
            raise ValueError(f"expected none, auto or a list of views: got {value!r}")
        return value

    @model_validator(mode="after")
    def _views_that_exist(self) -> Self:
        parts = [part for view in self.views for part in (view if isinstance(view, list) else [view])]
        messages = [message for part in parts if (message := _problem_of(part))]
        if [] in self.views:
            messages.append("a view is empty: a list of views done in turn holds at least one")
        twice = [view for position, view in enumerate(self.views) if view in self.views[:position]]
        messages += [f"the view {view} stands twice, which would weigh it double; keep one" for view in twice]
        raise_key_problems([("", message) for message in messages])
        return self


_LIMITS = {"scale": (0.3, 3.0), "centre_crop": (0.3, 1.0), "corner_crops": (0.3, 1.0), "rotate": (-180.0, 180.0),
           "brightness": (-1.0, 1.0)}  # fmt: skip
_WITHOUT_VALUE = ("identity", "horizontal_flip")


def _problem_of(part: Any) -> str | None:
    try:
        name, value = view_part(part)
    except ValueError as error:
        return str(error)
    if name[:1].isupper():  # an Albumentations transform: checked where the library may be imported
        return None
    if name in _WITHOUT_VALUE:
        return None if value is None else f"the view {name} takes no value: got {value!r}"
    if name not in _LIMITS:
        return f"{name!r} is not a view{nearest(name, [*_WITHOUT_VALUE, *_LIMITS])}"
    low, high = _LIMITS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        such = f"such as {{{name}: {high / 2:g}}}: got {value!r}"
        return f"the view {name} takes a number from {low:g} to {high:g}, {such}"
    return None


def view_part(part: Any) -> tuple[str, Any]:
    """A part's name and its value, which is None for one that is a name alone."""
    if isinstance(part, str):
        return part, None
    if not isinstance(part, dict) or len(part) != 1:
        raise ValueError(f"a view is one name with its value, such as {{scale: 1.1}}: got {part}")
    name, value = next(iter(part.items()))
    return str(name), value
