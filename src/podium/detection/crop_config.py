"""What `podium detect crop` is asked to make of each image."""

from dataclasses import dataclass
from typing import Literal

How = Literal["crop", "blur", "grey", "black"]
Choose = Literal["score", "size", "both"]
MADE: dict[How, str] = {"crop": "cropped", "blur": "blurred", "grey": "greyed", "black": "blacked"}
"""What the new competition is called after."""


@dataclass(frozen=True)
class Cropping:
    kind: str
    """The class of the object."""
    how: How = "crop"
    choose: Choose = "both"
    """Which box is the object: that of the highest score, the largest, or the one where the score times the share of
    the image that it covers is highest."""
    threshold: float = 0.3
    margin: float = 0.1
    """A share of the box's width and height, added on each side."""
    square: bool = False
    size: int | None = None
    """Pixels of the longer side, where it is longer."""
