"""Which images train, which validate, which test: said by an image's id alone, so that it stays when others come."""

import hashlib
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from podium.detection.dataset import SPLITS
from podium.errors import ConfigError

SHARES = (0.8, 0.1, 0.1)
"""Of train, validation and test."""
_LETTERS = 13
"""Of the digest: 52 bits, which a float holds exactly."""


def splits_of(ids: Iterable[str], seed: int = 42, shares: Sequence[float] = SHARES) -> NDArray[np.object_]:
    """The split of each of these images.

    The first 13 hexadecimal digits of SHA-256 of `<seed>/<id>` in UTF-8, as a number over 16^13, are the image's
    place between 0 and 1. It is of train below the first share, of validation below the first two together, else of
    test. So no other image decides, and the shares are met nearly: of n images, up to about √n more or fewer.
    """
    if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or not math.isclose(sum(shares), 1):
        raise ConfigError(
            f"the shares {', '.join(map(str, shares))} cannot split images; expected three numbers from 0 to 1, for"
            f" {', '.join(SPLITS)}, whose sum is 1"
        )
    beginning = hashlib.sha256(f"{seed}/".encode())
    places = np.array([_place(beginning.copy(), name) for name in ids], dtype=np.float64)
    train, validation, test = shares
    # The end of a share that nothing comes after is left open: 0.7 + 0.3 may be a little less than 1.
    bounds = [train if validation or test else math.inf, train + validation if test else math.inf]
    return np.array(SPLITS, dtype=object)[np.searchsorted(bounds, places, side="right")]


def _place(beginning: "hashlib._Hash", name: str) -> float:
    beginning.update(name.encode())
    return int(beginning.hexdigest()[:_LETTERS], 16) / float(16**_LETTERS)
