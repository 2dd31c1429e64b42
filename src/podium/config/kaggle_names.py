"""How Kaggle's resources are named: kernels and datasets by owner and slug, competitions by slug, models by version."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator, Field

from podium.errors import ConfigError

_SLUG = r"[a-z0-9]+(?:-[a-z0-9]+)*"
SLUG = re.compile(_SLUG)
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_OWNED = rf"[A-Za-z0-9_-]+/{_SLUG}"
_MODEL = r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/[A-Za-z0-9_.-]+/[1-9][0-9]*"
MODEL_NAME = re.compile(_MODEL)
"""A version of a Kaggle Model: owner/model/framework/variation/version, as the official client expects it."""
_RESOURCE = re.compile(rf"kaggle-(?:(dataset|kernel):({_OWNED})|(competition):({_SLUG})|(model):({_MODEL}))(?:/(.+))?")


def slug_of(title: str) -> str:
    """The slug that Kaggle derives from a title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


@dataclass(frozen=True)
class KernelRef:
    """`owner/slug` for the newest version of a kernel, `owner/slug/3` for version 3."""

    owner: str
    slug: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a kernel's name. Also accepts `owner/slug/v3` and the URL of the kernel's page."""
        parts = re.sub(r"^https://(www\.)?kaggle\.com/(code/)?", "", text.strip()).rstrip("/").split("/")
        number = parts[2].removeprefix("v") if len(parts) == 3 else ""
        is_named = len(parts) in (2, 3) and _OWNER.fullmatch(parts[0]) and SLUG.fullmatch(parts[1])
        if not is_named or (len(parts) == 3 and (not number.isdecimal() or int(number) < 1)):
            raise ConfigError(f"invalid kernel {text!r}: expected owner/slug or owner/slug/version, as push prints it")
        return cls(parts[0], parts[1], int(number) if number else None)

    @property
    def name(self) -> str:
        """The kernel without its version, as metadata refers to it."""
        return f"{self.owner}/{self.slug}"

    def at(self, version: int) -> "KernelRef":
        return KernelRef(self.owner, self.slug, version)

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}/{self.version}"


KaggleKind = Literal["competition", "dataset", "kernel", "model"]


@dataclass(frozen=True)
class KaggleSource:
    """A resource at Kaggle as configs refer to it: `kaggle-dataset:<owner>/<slug>/<path>`, the path being optional."""

    kind: KaggleKind
    name: str
    """owner/slug; a competition's slug; a model's owner/model/framework/variation/version."""
    path: str = ""
    """A file or folder in it."""

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """None if the text is not a reference."""
        found = _RESOURCE.fullmatch(text or "")
        if found is None:
            return None
        path = found[7] or ""
        if (path and {"", ".", ".."} & set(path.split("/"))) or "\\" in found[0]:
            return None
        return cls(cast(KaggleKind, found[1] or found[3] or found[5]), found[2] or found[4] or found[6], path)


def is_at_kaggle(text: str) -> bool:
    """Whether a text has the prefix of a reference to Kaggle, even if it is invalid."""
    return re.match("kaggle-[a-z]+:", text) is not None


def _check_resource(text: str | None) -> str | None:
    found = KaggleSource.parse(text)
    if text is not None and (found is None or found.path or found.kind == "model"):
        raise ValueError(
            "expected kaggle-dataset:<owner>/<slug>, kaggle-kernel:<owner>/<slug> or kaggle-competition:<slug>,"
            f" got {text!r}"
        )
    return text


DataAtKaggle = Annotated[str | None, AfterValidator(_check_resource)]
"""Where Kaggle has a data folder: `kaggle-dataset:<owner>/<slug>`, `kaggle-kernel:<owner>/<slug>` or
`kaggle-competition:<slug>`. Kernels attach it."""


def source_of(text: str | None) -> tuple[KaggleKind, str] | None:
    """The kind and name of the resource that a config value refers to; None if it does not refer to Kaggle."""
    found = KaggleSource.parse(text)
    return (found.kind, found.name) if found else None
