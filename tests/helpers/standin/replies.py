"""What the service answers with: JSON of kagglesdk's types, files and ranges of them, streams, refusals."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kagglesdk.kaggle_object import KaggleObject, TimeDeltaSerializer

JSON = "application/json; charset=utf-8"
_PIECE = 1 << 16


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An HTTP error, as Kaggle words it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Reply:
    """Either `content`, in memory or a file's bytes from `start` to `stop`, or a `stream` that ends on its own."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | Path = b""
    start: int = 0
    stop: int = 0
    stream: Iterator[bytes] | None = None
    ready: int = 0
    """How many pieces of the stream are there already."""

    @property
    def size(self) -> int:
        return self.stop - self.start

    def pieces(self, count: int) -> Iterator[bytes]:
        """The first `count` bytes."""
        end = self.start + min(count, self.size)
        if isinstance(self.content, bytes):
            yield self.content[self.start : end]
            return
        with self.content.open("rb") as file:
            file.seek(self.start)
            left = end - self.start
            while left > 0:
                piece = file.read(min(_PIECE, left))
                left -= len(piece)
                yield piece


def bytes_reply(content: bytes, content_type: str = JSON, status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"Content-Type": content_type, **named}, content, 0, len(content))


def object_reply(answer: KaggleObject) -> Reply:
    return bytes_reply(json.dumps(printed(answer)).encode())


def refusal_reply(code: int, message: str, retry_after: str | None = None) -> Reply:
    headers = {} if retry_after is None else {"Retry_After": retry_after}
    return bytes_reply(json.dumps({"code": code, "message": message}).encode(), status=code, **headers)


def redirect_reply(url: str) -> Reply:
    return bytes_reply(b'<html><body>Found: follow "Location".</body></html>', "text/html", status=302, Location=url)


def printed(answer: KaggleObject) -> dict[str, Any]:
    """The answer as JSON. kagglesdk loses the days of durations, Kaggle's service does not."""
    content: dict[str, Any] = answer.to_dict()
    for item in answer._fields:
        value = getattr(answer, item.private_field_name)
        if isinstance(value, KaggleObject):
            content[item.json_name] = printed(value)
        elif value is not None and isinstance(item.serializer, TimeDeltaSerializer):
            content[item.json_name] = f"{value.total_seconds():.3f}s"
    return content


def parsed(request_type: type[KaggleObject], body: bytes) -> KaggleObject:
    """The request, which must be JSON with no field that the type does not have."""
    try:
        content = json.loads(body or b"{}")
    except ValueError:
        raise Refusal(400, "Invalid JSON payload received") from None
    unknown = set(content) - {item.json_name for item in request_type._fields}
    if unknown:
        raise Refusal(400, f"Invalid JSON payload received. Unknown name {sorted(unknown)[0]!r}")
    return request_type.from_dict(content)


def file_reply(content: bytes | Path, etag: str, modified: str, headers_of_request: Mapping[str, str]) -> Reply:
    """The file, or the requested range of it."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    headers = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Last-Modified": modified,
    }
    range_ = headers_of_request.get("Range")
    if range_ is None or headers_of_request.get("If-Range", etag) not in (etag, modified):
        return Reply(200, headers, content, 0, size)
    found = _range(range_, size)
    if found is None:
        return Reply(416, headers | {"Content-Range": f"bytes */{size}"})
    start, stop = found
    return Reply(206, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}, content, start, stop)


def _range(text: str, size: int) -> tuple[int, int] | None:
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", text.strip())
    if found is None:
        return None
    start, last = found.groups()
    stop = min(size, int(last) + 1) if last else size
    return (int(start), stop) if int(start) < stop else None
