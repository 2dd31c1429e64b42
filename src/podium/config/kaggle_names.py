"""How Kaggle names things: kernels and datasets by owner and slug, a kernel's version by its number."""

import re
from dataclasses import dataclass
from typing import Self

from podium.errors import ConfigError

SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class KernelRef:
    """`owner/slug`, or one version of it: `owner/slug/3`. Without a version Kaggle answers for the newest."""

    owner: str
    slug: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Also takes `owner/slug/v3` and the address of the kernel's page."""
        parts = re.sub(r"^https://(www\.)?kaggle\.com/(code/)?", "", text.strip()).rstrip("/").split("/")
        number = parts[2].removeprefix("v") if len(parts) == 3 else ""
        is_named = len(parts) in (2, 3) and _OWNER.fullmatch(parts[0]) and SLUG.fullmatch(parts[1])
        if not is_named or (len(parts) == 3 and (not number.isdecimal() or int(number) < 1)):
            raise ConfigError(f"{text!r} names no kernel; expected owner/slug or owner/slug/version, as push prints it")
        return cls(parts[0], parts[1], int(number) if number else None)

    @property
    def name(self) -> str:
        """Without the version: how a kernel is named as a source of another."""
        return f"{self.owner}/{self.slug}"

    def at(self, version: int) -> "KernelRef":
        return KernelRef(self.owner, self.slug, version)

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}/{self.version}"


def slug_of(title: str) -> str:
    """The slug that Kaggle makes of a title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
