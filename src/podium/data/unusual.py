"""Which images are unusual, by their measurements. What most images have is usual, and not reported."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.data import quality
from podium.data.quality import Measurements

_BLANK, _BLANK_OF_BRIGHTNESS = 0.02, 0.08
"""Contrast below which an image shows nothing; of a dark image, as a share of its brightness."""
_DARK = 0.25
"""Brightness below which an image is dark."""
_BLUR = 0.58
"""Blur from which an image is blurred; of a sharp photograph it is 0.2 to 0.5."""
_FACTOR = 2.5
"""A size or a shape is odd if it differs from the median by this factor, and by more than those of most images do."""
_DEVIATIONS = 5.0
"""More than of most: so many standard deviations, estimated from the middle half of the images."""


@dataclass(frozen=True)
class Kind:
    title: str
    """Completes "12 images are …" or "12 files are …"."""
    advice: str
    find: Callable[[Measurements], NDArray[np.bool_]]
    value: Callable[[np.void], str] = lambda entry: ""
    """What to say of an image."""


def _flag(flag: int) -> Callable[[Measurements], NDArray[np.bool_]]:
    return lambda measured: (measured["flags"] & flag) != 0


def _far_from_others(values: NDArray[np.float64], readable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Values of logarithms that are far from the median."""
    if not readable.any():
        return readable
    low, middle, high = np.percentile(values[readable], [25, 50, 75])
    spread = max(float(np.log(_FACTOR)), _DEVIATIONS * (high - low) / 1.35)
    return np.asarray(readable & (np.abs(values - middle) > spread))


def _readable(measured: Measurements) -> NDArray[np.bool_]:
    return np.asarray((measured["flags"] & quality.DAMAGED == 0) & (measured["width"] > 0))


def _odd_size(measured: Measurements) -> NDArray[np.bool_]:
    sides = np.sqrt(np.maximum(1.0, measured["width"].astype(np.float64) * measured["height"]))
    return _far_from_others(np.log(sides), _readable(measured))


def _odd_shape(measured: Measurements) -> NDArray[np.bool_]:
    ratios = np.maximum(1, measured["width"]) / np.maximum(1, measured["height"]).astype(np.float64)
    return _far_from_others(np.log(ratios), _readable(measured))


def _blank(measured: Measurements) -> NDArray[np.bool_]:
    least = np.minimum(_BLANK, _BLANK_OF_BRIGHTNESS * measured["brightness"])
    return np.asarray(_readable(measured) & (measured["contrast"] <= least))


def _dark(measured: Measurements) -> NDArray[np.bool_]:
    return np.asarray(_readable(measured) & ~_blank(measured) & (measured["brightness"] < _DARK))


def _blurred(measured: Measurements) -> NDArray[np.bool_]:
    sharp_enough = _readable(measured) & ~_blank(measured)
    if not sharp_enough.any():
        return sharp_enough
    low, middle, high = np.percentile(measured["blur"][sharp_enough], [25, 50, 75])
    return np.asarray(sharp_enough & (measured["blur"] > max(_BLUR, middle + _DEVIATIONS * (high - low) / 1.35)))


def _size_of(entry: np.void) -> str:
    return f"{entry['width']} × {entry['height']} pixels"


IMAGE_KINDS = {
    "unreadable": Kind("unreadable", "replace them, or set on_bad_image: skip", _flag(quality.UNREADABLE)),
    "truncated": Kind(
        "truncated: the end of the file is missing", "download them again", _flag(quality.TRUNCATED)
    ),
    "wrong_suffix": Kind(
        "in another format than their name says", "podium reads them; other tools may not", _flag(quality.WRONG_SUFFIX)
    ),
    "rotated": Kind(
        "rotated by an EXIF tag", "podium rotates them upright; other tools may not", _flag(quality.ROTATED)
    ),
    "grey": Kind("grey or nearly grey", "see that they are of all classes", _flag(quality.GREY)),
    "cmyk": Kind("CMYK", "their colours may look different; convert them to RGB", _flag(quality.CMYK)),
    "transparent": Kind(
        "partly transparent", "podium puts them on black; see that it suits them", _flag(quality.IS_TRANSPARENT)
    ),
    "deep": Kind("of more than 8 bits", "see intensity in the competition file", _flag(quality.IS_DEEP)),
    "odd_size": Kind("much larger or smaller than most", "see that they are what they should be", _odd_size, _size_of),
    "odd_shape": Kind("much wider or higher than most", "see that they are what they should be", _odd_shape, _size_of),
    "dark": Kind(
        "dark", "see whether they show anything", _dark, lambda entry: f"brightness {entry['brightness']:.2f} of 1"
    ),
    "blurred": Kind(
        "blurred", "see whether they can be recognized", _blurred, lambda entry: f"blur {entry['blur']:.2f} of 1"
    ),
    "blank": Kind("blank", "leave them out (ignore)", _blank),
}  # fmt: skip
_MOSTLY = 0.5


def find_unusual(measured: Measurements) -> dict[str, NDArray[np.int64]]:
    """The images of each kind, unless half of all are of it."""
    found = {name: kind.find(measured) for name, kind in IMAGE_KINDS.items()}
    return {name: np.flatnonzero(rows) for name, rows in found.items() if rows.mean() < _MOSTLY or name == "unreadable"}
