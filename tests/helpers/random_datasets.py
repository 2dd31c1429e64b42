"""Datasets with random boxes and difficult ids and class names, and their image files."""

import struct
import zlib

import numpy as np
import pandas as pd

from podium.detection.dataset import FLAGS, SPLITS, BoxDataset, image_path
from podium.detection.formats import ImageFiles

CLASSES = ["Boat", "Big & <odd> boat", "no", "Ähre", "Car"]
"""Not in alphabetical order; `Car` may have no box."""
IDS = [
    *("007", "7", "NA", "a/b", "../up", "..", ".hidden", "end.", "a b", "100%", "a%2Fb", "back\\slash", "a,b", 'q"q'),
    *("x.jpg", "x", "Жук", "line\nbreak", "C:\\boot", "0/0004.jpg", "tab\there", "-1", "1e5", "café", "a'b", "è" * 50),
]


def random_dataset(seed):
    """Each image has up to four boxes; some are whole numbers, some thinner than a pixel, some the whole image."""
    random = np.random.default_rng(seed)
    ids = [IDS[at] for at in random.permutation(len(IDS))[: random.integers(5, len(IDS))]]
    width, height = random.integers(1, 5000, (2, len(ids)))
    images = pd.DataFrame(
        {
            "id": ids,
            "file": [f"some/{row}.{random.choice(['jpg', 'PNG', 'jpeg'])}" for row in range(len(ids))],
            "width": width,
            "height": height,
            "rotated": random.random(len(ids)) < 0.2,
            "split": random.choice(SPLITS, len(ids)),
        }
    )
    rows = np.repeat(np.arange(len(ids)), random.integers(0, 5, len(ids)))
    left, right = _ends(random, width[rows])
    top, bottom = _ends(random, height[rows])
    boxes = pd.DataFrame(
        {
            "id": np.array(ids, dtype=object)[rows],
            "class": np.array(CLASSES[:-1], dtype=object)[random.integers(0, len(CLASSES) - 1, len(rows))],
            "left": left,
            "top": top,
            "right": right,
            "bottom": bottom,
            **{flag: random.random(len(rows)) < 0.3 for flag in FLAGS},
        }
    )
    order = random.permutation(len(boxes))
    return BoxDataset(f"set-{seed}", CLASSES, images, boxes.iloc[order], {"seed": seed, "by": 'a test, in "quotes"'})


def _ends(random, sides):
    """Where boxes begin and end along sides of these lengths."""
    kind = random.integers(0, 4, len(sides))
    start = random.random(len(sides)) * sides * 0.99
    end = start + (sides - start) * random.uniform(0.01, 1, len(sides))
    thin = np.minimum(start + random.uniform(1e-5, 0.9, len(sides)), sides)
    start = np.select([kind == 0, kind == 1], [0, np.floor(start)], start)
    end = np.select([kind == 0, kind == 1, kind == 2], [sides, np.ceil(end), thin], end)
    return start.round(6), end.round(6)


def draw_headers(dataset, folder):
    """A file for each image with a header only, which is all that formats read."""
    files = ImageFiles("copy", data_folder=folder / "data", dataset_folder=folder / "own")
    columns = dataset.images[["file", "rotated", "width", "height"]]
    for file, turned, width, height in columns.itertuples(index=False):
        path = image_path(file, turned, files.data_folder, files.dataset_folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_header(width, height))
    return files


def png_header(width, height):
    """The beginning of a PNG, without pixels."""
    header = struct.pack(">4sII5s", b"IHDR", width, height, b"\x08\x02\0\0\0")
    checksum = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + checksum + struct.pack(">I4s", 0, b"IDAT")


def small_dataset():
    """Two boats of 100 × 50 pixels, one with a boat and a car in it, the other without any."""
    images = pd.DataFrame(
        [("one", "some/one.png", 100, 50, False, "train"), ("two", "some/two.png", 100, 50, False, "validation")],
        columns=["id", "file", "width", "height", "rotated", "split"],
    )
    boxes = pd.DataFrame(
        [
            ("one", "Boat", 10.0, 20.0, 30.5, 40.0, True, False, False, False),
            ("one", "Car", 0.0, 0.0, 100.0, 50.0, False, True, True, True),
        ],
        columns=["id", "class", "left", "top", "right", "bottom", *FLAGS],
    )
    return BoxDataset("small", ["Boat", "Car"], images, boxes, {})


def files_in(folder):
    """Every file and folder below, with its bytes."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
