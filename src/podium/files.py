"""Files that are whole or not there: a temporary name, synced, renamed. And JSON, and digests of what it holds."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from podium.errors import RunError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place when the block ends well, and is removed when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: Keras tells formats by it.
    handle, name = tempfile.mkstemp(prefix=".writing-", suffix="".join(path.suffixes[-2:]), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); move that run folder away and run again") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} holds {type(content).__name__}, not keys; move that run folder away and run again")
    return content


def digest_of(content: Any) -> str:
    """Eight letters that change when the content does."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
