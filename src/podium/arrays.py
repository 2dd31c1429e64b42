"""Files of NumPy arrays from outside: never pickled, never compressed. A ValueError says what is wrong with one."""

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


def read_npy(file: Path | IO[bytes]) -> NDArray[Any]:
    try:
        array = np.load(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy raises many kinds of errors, depending on what is damaged
        raise ValueError(f"it is not a complete array ({error})") from None
    if not isinstance(array, np.ndarray):
        raise ValueError("it is a zip of arrays")
    return array


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            is_compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
        if is_compressed:  # a few bytes could become terabytes
            raise ValueError("it is compressed")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError):
        raise
    except Exception as error:  # as above, and zipfile's
        raise ValueError(f"it is not a complete zip of arrays ({error})") from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError("not all of it are arrays")  # NumPy returns other files of the zip as bytes
    return arrays
