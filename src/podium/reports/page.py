"""Self-contained HTML pages: templates, and images inside the page. Names and labels are escaped by Jinja."""

import base64
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from podium import files
from podium.data.image_paths import ImagePaths
from podium.data.images import Scaling, read_scaled
from podium.errors import PodiumError

_QUALITY = 82
_SIDE = 160
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(path: Path, template: str, **content: Any) -> None:
    files.write_text(path, _ENVIRONMENT.get_template(template).render(**content), fsync=False)


def thumbnail(paths: ImagePaths, row: int) -> str | None:
    """The image as the source of an `img` element; None if it cannot be read."""
    try:
        (image,) = read_scaled(paths.text(row), [Scaling(_SIDE, "pad")], paths.reading)
    except (PodiumError, cv2.error):
        return None
    return as_source(image)


def as_source(image: NDArray[np.uint8]) -> str:
    """An RGB or grey image as a JPEG inside the page."""
    shown = image[..., [2, 1, 0]] if image.shape[2] >= 3 else image[..., :1]
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(shown), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
