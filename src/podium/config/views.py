"""The schema of test-time augmentation: which views of a picture are predicted, and how their answers are joined."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

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
        if isinstance(value, str):
            raise ValueError(f"{value!r} is not none, auto or a list of views")
        return value

    @model_validator(mode="after")
    def _views_that_exist(self) -> Self:
        for view in self.views:
            for part in view if isinstance(view, list) else [view]:
                _check_part(part)
        if len({repr(view) for view in self.views}) < len(self.views):
            raise ValueError("the same view stands twice in views, which would weigh it double")
        return self


def _check_part(part: Any) -> None:
    name, value = view_part(part)
    wanted = {
        "identity": (None, None),
        "horizontal_flip": (None, None),
        "scale": (0.3, 3.0),
        "centre_crop": (0.3, 1.0),
        "corner_crops": (0.3, 1.0),
        "rotate": (-180.0, 180.0),
        "brightness": (-1.0, 1.0),
    }
    if name not in wanted:
        if name[:1].isupper():  # an Albumentations transform: checked where the library may be imported
            return
        from podium.config.faults import nearest

        raise ValueError(f"{name!r} is not a view{nearest(name, list(wanted))}")
    low, high = wanted[name]
    if low is None or high is None:
        if value is not None:
            raise ValueError(f"the view {name} takes no value")
    elif isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"the view {name} takes a number from {low:g} to {high:g}, such as {{{name}: {high / 2:g}}}")


def view_part(part: Any) -> tuple[str, Any]:
    """A part's name and its value, which is None for one that is a name alone."""
    if isinstance(part, str):
        return part, None
    if not isinstance(part, dict) or len(part) != 1:
        raise ValueError(f"a view is one name with its value, such as {{scale: 1.1}}: got {part}")
    name, value = next(iter(part.items()))
    return str(name), value
