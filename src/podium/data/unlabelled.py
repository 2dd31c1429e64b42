"""Images to predict: those of a competition's test set."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from podium.config.competition import Competition
from podium.data.catalogue import read_catalogue
from podium.data.find_images import find_images, image_roots
from podium.data.image_paths import NO_IMAGE, ImagePaths
from podium.data.table import check_ids, check_readable, digest_of_columns, read_table


@dataclass(frozen=True)
class UnlabelledImages:
    ids: list[str]
    paths: ImagePaths
    """None where the image cannot be read."""
    contents: str = ""
    """A digest of the bytes of all images."""

    @cached_property
    def digest(self) -> str:
        """Changes with every id and every byte, but not with the folder."""
        return digest_of_columns([pd.Series(self.ids, dtype=object)], self.contents)


def read_test_set(
    competition: Competition,
    folder: Path,
    console: Console | None = None,
    cache: Callable[[ImagePaths], None] = lambda paths: None,
) -> UnlabelledImages:
    """Find and check the images of the sample submission's ids, in its order. `cache` gets their paths first."""
    images = find_test_set(competition, folder)
    cache(images.paths)
    return with_contents(images, competition, console)


def find_test_set(competition: Competition, folder: Path) -> UnlabelledImages:
    """The images of the sample submission's ids. One error names all images that are missing."""
    sample, pattern = folder / competition.submission.sample, competition.test.images
    ids = read_table(sample, [competition.submission.id])[competition.submission.id]
    check_ids(pd.DataFrame({"id": ids}), sample)
    roots = image_roots(competition, folder, pattern)
    return UnlabelledImages(ids.tolist(), find_images((pattern.format(id=id_) for id_ in ids), pattern, roots, sample))


def with_contents(
    images: UnlabelledImages, competition: Competition, console: Console | None = None
) -> UnlabelledImages:
    """The images with the digest of their bytes. Unreadable ones are kept, since each id needs a prediction; or, with
    `on_bad_image: error`, an error lists them."""
    known = read_catalogue(images.paths, competition.slug, console)
    check_readable(images.paths, known.readable, competition)
    paths = images.paths.take(np.where(known.readable, np.arange(len(images.paths)), NO_IMAGE))
    return replace(images, paths=paths, contents=known.digest)
