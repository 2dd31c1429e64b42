"""How much is measured: in full, and in the short form that a test runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.images import Counts, ImageSet, Source, drawn, photographs
from benchmarks.recipe import BATCH_SIZE


@dataclass(frozen=True)
class Plan:
    turns: int
    drawn: tuple[int, int]
    """Images of the drawn competition, to train on and to predict."""
    input: Counts
    variants: bool
    """Peers with other settings as well."""
    frozen: Counts
    frozen_size: int
    backbone: str
    """Of the full stage and the views; the frozen stage's is MobileNetV2, as its peer's."""
    full: Counts
    full_size: int
    full_epochs: int
    views: Counts
    views_size: int
    rows: tuple[int, ...]
    memory: tuple[int, int]
    commands: int
    """How often a turn starts each command."""


FULL = Plan(
    turns=5,
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
    turns=1,
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
    """What all measures are given."""

    plan: Plan
    root: Path
    """Where images are kept."""
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
        """Of every source a set of this size, read once."""
        return [self._taken(source, counts) for source in self.sources]

    def drawn_set(self, counts: Counts) -> ImageSet:
        return self._taken(self.sources[0], counts)

    def member(self, backbone: str, **settings: Any) -> dict[str, Any]:
        """A member file's content, of one stage: the stage's keys, and the member's under `member`."""
        weights = str(self.weights.resolve()) if self.weights and backbone == "MobileNetV2" else "none"
        member = settings.pop("member", {})
        stage = {"name": "one", "batch_size": BATCH_SIZE, **settings}
        return {"backbone": {"name": backbone, "weights": weights}, **member, "stages": [stage]}

    def _taken(self, source: Source, counts: Counts) -> ImageSet:
        images = source.take(counts, self.root)
        images.read_once()
        return images
