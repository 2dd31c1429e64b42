"""Images that show the same: equal files, and copies that were scaled or saved again."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from podium.data.quality import DAMAGED, Measurements

_BITS = 10
"""Hashes of candidates differ in at most this many of 64 bits; then their thumbnails are compared."""
_CORRELATION = 0.94
"""The least of two thumbnails that show the same. Of two photographs of one kind it is below 0.93."""
_FLAT = 0.02
"""Images with less contrast look like all others."""
_BLOCK = 256


def duplicate_groups(measured: Measurements) -> NDArray[np.int64]:
    """For each image the number of its group: images of one group show the same."""
    readable = measured["flags"] & DAMAGED == 0
    _, content = np.unique(measured["content"], return_inverse=True)
    first_of_content = np.full(content.max(initial=-1) + 1, -1)
    pairs = list[tuple[int, int]]()
    for row in np.flatnonzero(readable).tolist():  # equal files
        first = first_of_content[content[row]]
        if first < 0:
            first_of_content[content[row]] = row
        else:
            pairs.append((int(first), row))
    kept = np.sort(first_of_content[first_of_content >= 0])
    kept = kept[measured["contrast"][kept] >= _FLAT]
    for one, others in _similar_hashes(measured["hash"][kept]):
        same = _look_the_same(measured["thumbnail"][kept[one]], measured["thumbnail"][kept[others]])
        pairs += [(int(kept[one]), int(row)) for row in kept[others[same]]]
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(first), bool), (first, second)), (len(measured), len(measured)))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _similar_hashes(hashes: NDArray[np.uint64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each image that has some, with the later ones whose hash is similar. Compares all: 20 s for 100,000 images."""
    for start in range(0, len(hashes), _BLOCK):
        distances = np.bitwise_count(hashes[start : start + _BLOCK, None] ^ hashes[None, start:])
        rows, columns = np.nonzero(distances <= _BITS)
        later = columns > rows
        rows, columns = rows[later], columns[later]
        for row, first in zip(*np.unique(rows, return_index=True), strict=True):
            end = np.searchsorted(rows, row, side="right")
            yield start + int(row), start + columns[first:end]


def _look_the_same(thumbnail: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each other thumbnail is the same but for its brightness and small differences."""
    centred = [each.reshape(len(each), -1).astype(np.float32) for each in (thumbnail[None], others)]
    one, rest = (each - each.mean(axis=1, keepdims=True) for each in centred)
    lengths = np.linalg.norm(one) * np.linalg.norm(rest, axis=1)
    return np.asarray(rest @ one[0] >= _CORRELATION * lengths)
