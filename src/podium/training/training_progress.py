"""How far a training is: all of its state that is not an array."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from podium.changes import Change, Position
from podium.config.stage import Stage

FORMAT = 1
"""Of a checkpoint. A change that an older podium would misread raises it."""


@dataclass
class Progress:
    """At the end of a stage `epoch` is the stage's number of epochs; the next stage begins when its first step does."""

    seed: int
    precision: str = "float32"
    """What `auto` meant where the training began: it stays so on other machines, and for predictions."""
    stage: int = 0
    """The stage's number, from 0."""
    stage_name: str = ""
    epoch: int = 0
    """Epochs of the stage that are done."""
    step: int = 0
    """Steps of the epoch under way that are done."""
    rows: int = 0
    """Rows of the epoch under way that were trained on."""
    best: dict[str, Any] | None = None
    counters: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the callbacks of the stage count: their `best`, `wait`, `cooldown_counter`."""
    history: list[dict[str, Any]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    """Those made so far, and those still ahead that changes.csv knows of."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent on each stage, that of earlier processes included."""
    seconds_per_image: float = 0.0
    """What predicting took, when the validation rows were last predicted."""
    seconds_of_a_first_step: float = 0.0
    """The longest that the first step of a stage took, which makes the graph."""
    is_complete: bool = False
    """All stages are over; the arrays that a further stage does not need are gone."""

    @property
    def position(self) -> Position:
        return (self.stage, self.epoch, self.step)

    def enter(self, number: int, stage: Stage) -> None:
        """Begin a stage."""
        self.stage, self.stage_name = number, stage.name
        self.epoch = self.step = self.rows = 0
        self.counters, self.is_complete = {}, False

    def is_over(self, stage: Stage) -> bool:
        """Is there nothing left to do in this stage, the one under way? Its epochs or patience may have changed."""
        if self.is_complete or self.epoch >= stage.epochs:
            return True
        waited = self.counters.get("early_stopping", {}).get("wait", 0)
        # Keras never ends a stage after its first epoch.
        return stage.early_stopping is not None and self.epoch > 1 and waited >= stage.early_stopping

    def changes_of(self, number: int, epoch: int) -> list[Change]:
        return [change for change in self.changes if (change.stage, change.epoch) == (number, epoch)]

    def learning_rate(self, stage: Stage) -> float:
        """The stage's own, or what it was last changed to, up to here."""
        rates = [
            change.after
            for change in self.changes
            if change.stage == self.stage and change.key == "learning_rate" and change.position <= self.position
        ]
        return float(rates[-1]) if rates else stage.learning_rate

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Progress":
        known = {one.name for one in fields(cls)}
        changes = [Change(**change) for change in content["changes"]]
        return cls(**{key: value for key, value in content.items() if key in known} | {"changes": changes})


def spell_position(stage: Stage, progress: Progress) -> str:
    """As a person counts, from 1: `stage all, epoch 3 of 10, after step 120`."""
    if progress.epoch >= stage.epochs:
        return f"the end of stage {stage.name}"
    after = f", after step {progress.step}" if progress.step else ""
    return f"stage {stage.name}, epoch {progress.epoch + 1} of {stage.epochs}{after}"
