"""Reading DICOM files, with pydicom."""

import io
from typing import Any

from podium.config.reading import Intensity, Reading
from podium.data.decoding import Decoded, check_page_count, pages_as_channels
from podium.data.image_headers import Content, UnreadableError, check_convertible
from podium.data.intensity import to_bytes

_DEFLATED = b"1.2.840.10008.1.2.1.99"
"""A transfer syntax."""


def read_dicom(content: Content, reading: Reading) -> Decoded:
    try:
        import pydicom
        from pydicom.pixels import apply_color_lut, apply_modality_lut
    except ImportError:
        raise UnreadableError("it is a DICOM file, which needs pydicom: pip install 'podium-kit[dicom]'") from None
    whole = content.tobytes()
    if _DEFLATED in whole:  # pydicom decompresses it while it reads the header, without a limit
        raise UnreadableError("it is a deflated DICOM file; save it with another transfer syntax")
    try:
        dataset = pydicom.dcmread(io.BytesIO(whole), force=True)
        pages = int(dataset.get("NumberOfFrames") or 1)
        by_page = pages > 1 and reading.pages == "channels"
        if by_page:
            check_page_count(pages, reading)
        else:
            dataset.pixel_array_options(index=0)
        check_convertible(int(dataset.Rows), int(dataset.Columns), pages if by_page else 1)
        values = dataset.pixel_array
        if by_page:
            values = pages_as_channels(list(values), reading)
        kind = str(dataset.get("PhotometricInterpretation", ""))
        if kind == "PALETTE COLOR":
            return Decoded(to_bytes(apply_color_lut(values, dataset), Intensity(rule="full")), pages=pages)
        if not kind.startswith("MONOCHROME"):
            return Decoded(values, pages=pages)
        values, window = apply_modality_lut(values, dataset), _window(dataset)
    except UnreadableError:
        raise
    except Exception as error:  # pydicom raises many kinds of errors; those of missing plug-ins say what to install
        raise UnreadableError(f"it is a DICOM file that pydicom cannot read ({' '.join(str(error).split())})") from None
    return Decoded(values, pages=pages, window=window, is_inverted=kind == "MONOCHROME1")


def _window(dataset: Any) -> tuple[float, float] | None:
    """The values that become black and white in the first window of the file."""
    centre, width = (dataset.get(name) for name in ("WindowCenter", "WindowWidth"))
    if centre in (None, "") or width in (None, ""):
        return None
    centre, width = (float(value[0] if hasattr(value, "__len__") else value) for value in (centre, width))
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
