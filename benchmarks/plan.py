"""The sizes of the full benchmark, and of the short one for the tests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.images import Counts, ImageSet, Source, drawn, photographs
from benchmarks.recipe import BATCH_SIZE


@dataclass(frozen=True)
class Plan:
    rounds: int
    drawn: tuple[int, int]
    """Training and test images of the drawn competition."""
    input: Counts
    variants: bool
    """Whether peers are measured with other settings too."""
    frozen: Counts
    frozen_size: int
    backbone: str
    """For the full stage and the views; the frozen stage uses MobileNetV2, as its peer does."""
    full: Counts
    full_size: int
    full_epochs: int
    views: Counts
    views_size: int
    rows: tuple[int, ...]
    memory: tuple[int, int]
    commands: int
    """How often each command is started in a round."""


FULL = Plan(
    rounds=5,
    drawn=(3000, 300),
    input=Counts(2000, 0, 0),
    variants=True,
    frozen=Counts(2000, 500, 16),
    frozen_size=160,
    backbone="MobileNetV2",
    full=Counts(1920, 64, 16),
    full_size=224,
    full_epochs=3,
    views=Counts(32, 32, 300),
    views_size=160,
    rows=(1_000, 100_000, 1_000_000),
    memory=(1_000, 100_000),
    commands=3,
)
SHORT = Plan(
    rounds=1,
    drawn=(64, 16),
    input=Counts(64, 0, 0),
    variants=False,
    frozen=Counts(32, 16, 16),
    frozen_size=96,
    backbone="SmallResNet",
    full=Counts(32, 16, 16),
    full_size=32,
    full_epochs=1,
    views=Counts(32, 16, 16),
    views_size=32,
    rows=(100, 1_000),
    memory=(100, 1_000),
    commands=1,
)


@dataclass(frozen=True)
class Bench:
    """The input of all measures."""

    plan: Plan
    root: Path
    """The folder of the images."""
    sources: list[Source]
    weights: Path | None
    torch: bool

    @classmethod
    def prepare(
        cls, plan: Plan, root: Path, data: Path | None, competition: Path, weights: Path | None, torch: bool
    ) -> "Bench":
        root.mkdir(parents=True, exist_ok=True)
        sources = [drawn(root, *plan.drawn)]
        if data:
            sources.append(photographs(root, data, competition))
        return cls(plan, root, sources, weights, torch)

    def sets(self, counts: Counts) -> list[ImageSet]:
        """A set of this size from every source, read into the page cache."""
        return [self._take(source, counts) for source in self.sources]

    def drawn_set(self, counts: Counts) -> ImageSet:
        return self._take(self.sources[0], counts)

    def member(self, backbone: str, **settings: Any) -> dict[str, Any]:
        """The content of a member file with one stage: the keys of the stage, and other keys in `member`."""
        weights = str(self.weights.resolve()) if self.weights and backbone == "MobileNetV2" else "none"
        member = settings.pop("member", {})
        stage = {"name": "one", "batch_size": BATCH_SIZE, **settings}
        return {"backbone": {"name": backbone, "weights": weights}, **member, "stages": [stage]}

    def _take(self, source: Source, counts: Counts) -> ImageSet:
        images = source.take(counts, self.root)
        images.read_into_page_cache()
        return images
