"""Files from Kaggle, streamed to the disk: whole under their name, or to be gone on with."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from podium.errors import KaggleError
from podium.files import LITTLE, room_for, sync_folder, write_text
from podium.kaggle.connection import check_address
from podium.kaggle.retries import patiently

CHUNK = 1 << 16
"""Bytes. What came of a chunk that was broken off is lost."""


def fetch(
    opened: Callable[[dict[str, str]], Any], path: Path, size: int | None, progress: Callable[[int], None]
) -> None:
    """Write what `opened(headers)` answers to `path`. What was fetched before a break stays, and is gone on with."""
    partial = path.with_name(f".partial-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with room_for(path.parent, size or LITTLE, f"{path.name} from Kaggle"):
        patiently(f"fetching {path.name}", lambda: _go_on(opened, partial, size, progress))
        partial.replace(path)
        sync_folder(path.parent)
        _note_of(partial).unlink(missing_ok=True)


def _go_on(
    opened: Callable[[dict[str, str]], Any], partial: Path, size: int | None, progress: Callable[[int], None]
) -> None:
    import requests

    have, validator = _so_far(partial)
    headers = {"Range": f"bytes={have}-", "If-Range": validator} if have and validator else {}
    with opened({"Accept-Encoding": "identity", **headers}) as response:
        if response.status_code == 416:  # more is here than there is there: another file
            partial.unlink()
            raise requests.ConnectionError("the file has changed")
        response.raise_for_status()
        goes_on = response.status_code == 206
        total = _total(response, have if goes_on else 0)
        if size is not None and total is not None and total != size:
            raise KaggleError(
                f"{partial.name.removeprefix('.partial-')}: Kaggle lists {size:,} bytes and sends {total:,}; pull again"
            )
        _note(partial, response)
        done = have if goes_on else 0
        with partial.open("ab" if goes_on else "wb") as written:
            for chunk in response.iter_content(CHUNK):
                written.write(chunk)
                done += len(chunk)
                progress(done)
            written.flush()
            os.fsync(written.fileno())
    expected = total if total is not None else size
    if expected is not None and done != expected:
        raise requests.ConnectionError(f"{done:,} of {expected:,} bytes came")


def _total(response: Any, before: int) -> int | None:
    length = response.headers.get("Content-Length")
    return None if length is None else before + int(length)


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _note(partial: Path, response: Any) -> None:
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
    write_text(_note_of(partial), json.dumps({"validator": validator}), synced=False)


def _so_far(partial: Path) -> tuple[int, str | None]:
    with suppress(OSError, ValueError, AttributeError):
        return partial.stat().st_size, json.loads(_note_of(partial).read_text()).get("validator")
    return 0, None


def from_address(session: Any, url: str) -> Callable[[dict[str, str]], Any]:
    checked = check_address(url)
    return lambda headers: session.get(checked, headers=headers, stream=True)
