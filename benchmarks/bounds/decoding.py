"""OpenCV alone on all cores: threads read, decode and resize every file, and discard the result.

It uses the fastest interpolation. With `scaled`, the JPEG decoder skips the pixels that resizing would remove, which is
the fastest way to read these files.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.machine import cores
from benchmarks.recipe import IMAGE_SIZE

TIMES = 3

_SCALED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


def decode(path: Path, flag: int) -> np.ndarray:
    image = cv2.imdecode(np.fromfile(path, np.uint8), flag)
    return cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_LINEAR)


def scaled_flag(paths: list[Path]) -> int:
    """The strongest reduction that keeps every image at least as large as the result. Not part of the measurement."""
    smallest = min(min(cv2.imread(str(path)).shape[:2]) for path in paths)
    return next((flag for factor, flag in _SCALED if smallest // factor >= IMAGE_SIZE), cv2.IMREAD_COLOR)


def rate(folder: str, images: int, scaled: bool = False) -> dict[str, Any]:
    cv2.setNumThreads(1)  # parallelism comes from these threads
    paths = sorted(Path(folder).glob("*/*.jpg"))
    assert len(paths) == images
    flag = scaled_flag(paths) if scaled else cv2.IMREAD_COLOR
    rates = []
    with ThreadPoolExecutor(cores()) as pool:
        for _ in range(TIMES):
            start = time.perf_counter()
            for _ in pool.map(lambda path: decode(path, flag).shape, paths):
                pass
            rates.append(images / (time.perf_counter() - start))
    return {"rate": sorted(rates)[len(rates) // 2]}
