"""Reading TIFF files."""

import io
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from podium.config.reading import Reading
from podium.data.decoding import (
    Decoded,
    check_page_count,
    decode_with_opencv,
    from_opencv,
    pages_as_channels,
    read_with_pillow,
)
from podium.data.image_headers import Content, UnreadableError, check_convertible

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = (
    256, 257, 258, 262, 277, 284, 338, 339,
)  # fmt: skip
"""Tags."""
_WHITE_IS_ZERO, _RGB = 0, 2
"""Values of _PHOTOMETRIC."""
_MAX_PAGES = 10_000


def read_tiff(content: Content, reading: Reading) -> Decoded:
    """Pillow reads bytes right, OpenCV everything deeper."""
    sizes, tags = _tiff_header(content)
    pages, by_page = len(sizes), len(sizes) > 1 and reading.pages == "channels"
    if by_page:
        check_page_count(pages, reading)
    bits, samples = max(tags.get(_BITS, (1,))), int(tags.get(_SAMPLES, 1))
    for height, width in sizes if by_page else sizes[:1]:
        check_convertible(height, width, (pages if by_page else 1) * max(1, bits // 32))
    is_alpha = bool({1, 2} & set(tags.get(_EXTRA_SAMPLES, ())))
    if samples > 4:
        raise UnreadableError(f"it has {samples} channels in one page; expected a page for each, or a .npy file")
    has_fourth = samples == 4 and tags.get(_PHOTOMETRIC) == _RGB and not is_alpha  # which Pillow drops
    if has_fourth and reading.channels != 4:
        raise UnreadableError("it has 4 channels, of which none is transparency; expected 1 or 3, or set channels: 4")
    if by_page:
        is_complete, every = cv2.imdecodemulti(content, cv2.IMREAD_UNCHANGED)
        if not is_complete:
            raise UnreadableError("its pages cannot be read")
        return Decoded(pages_as_channels([np.asarray(page) for page in every], reading), pages=pages)
    if bits <= 8 and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1 and not has_fourth:
        return replace(read_with_pillow(content, reading), pages=pages)
    if samples > 1 and tags.get(_PLANES) == 2:
        raise UnreadableError("its channels are in separate planes; expected the channels of each pixel together")
    pixels = decode_with_opencv(content)
    decoded = read_with_pillow(content, reading) if pixels is None else from_opencv(pixels, reading)
    return replace(decoded, pages=pages, is_inverted=tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def _tiff_header(content: Content) -> tuple[list[tuple[int, int]], dict[int, Any]]:
    """Height and width of each page, and the tags of the first."""
    file = io.BytesIO(content.data)
    tags, seen, sizes = dict[int, Any](), set[int](), []
    try:
        header = file.read(8)
        directory = ImageFileDirectory_v2(header if header[2] != 43 else header + file.read(8))
        while directory.next and directory.next not in seen and len(seen) <= _MAX_PAGES:
            seen.add(directory.next)
            file.seek(directory.next)
            directory.load(file)
            tags = tags or dict(directory)
            sizes.append((int(directory.get(_HEIGHT, 0)), int(directory.get(_WIDTH, 0))))
    except Exception as error:  # Pillow raises many kinds of errors, depending on what is damaged
        raise UnreadableError(f"it is not a complete TIFF ({error})") from None
    if len(sizes) > _MAX_PAGES:
        raise UnreadableError(f"it has more than {_MAX_PAGES:,} pages")
    return sizes, tags
