"""Places at Kaggle as configs name them: `kaggle-dataset:<owner>/<slug>`, a file or a folder of it behind that."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator

KaggleKind = Literal["dataset", "kernel", "competition"]
_OWNED = r"[A-Za-z0-9_-]+/[a-z0-9]+(?:-[a-z0-9]+)*"
_PLACE = re.compile(rf"kaggle-(?:(dataset|kernel):({_OWNED})|(competition):([a-z0-9]+(?:-[a-z0-9]+)*))(?:/(.+))?")


@dataclass(frozen=True)
class KagglePlace:
    kind: KaggleKind
    name: str
    """owner/slug; of a competition its slug."""
    inside: str = ""
    """A path within it."""

    @property
    def source(self) -> tuple[KaggleKind, str]:
        """What a kernel attaches."""
        return self.kind, self.name

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None where it is no such place."""
        found = _PLACE.fullmatch(text)
        if found is None:
            return None
        inside = found[5] or ""
        if (inside and {"", ".", ".."} & set(inside.split("/"))) or "\\" in text:
            return None
        return cls(kind=cast(KaggleKind, found[1] or found[3]), name=found[2] or found[4], inside=inside)


def is_at_kaggle(text: str) -> bool:
    """Whether it means such a place, well formed or not."""
    return re.match("kaggle-[a-z]+:", text) is not None


def _source(text: str | None) -> str | None:
    place = KagglePlace.parse(text) if text is not None else None
    if text is not None and (place is None or place.inside):
        raise ValueError(
            "expected kaggle-dataset:<owner>/<slug>, kaggle-kernel:<owner>/<slug> or kaggle-competition:<slug>:"
            f" got {text!r}"
        )
    return text


DataAtKaggle = Annotated[str | None, AfterValidator(_source)]
"""Where a data folder lies at Kaggle, as it is at home: `kaggle-dataset:<owner>/<slug>`, `kaggle-kernel:` the same, or
`kaggle-competition:<slug>`. A kernel's metadata then attaches it."""


def source_of(data: str | None) -> tuple[KaggleKind, str] | None:
    """What a kernel attaches for it."""
    place = KagglePlace.parse(data or "")
    return place.source if place else None
