"""Uploads by URL: a file comes in one piece, or in several that each say where they belong."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from standin.replies import Reply, bytes_reply


@dataclass(eq=False)
class Upload:
    """A file on its way. `is_used` once it was submitted: its token is good for one submission."""

    token: str
    slug: str
    file_name: str
    size: int
    content: bytes = field(default=b"", repr=False)
    is_used: bool = False

    @property
    def is_whole(self) -> bool:
        return len(self.content) == self.size


class Uploads:
    """All there are, by their tokens."""

    def __init__(self) -> None:
        self._all: dict[str, Upload] = {}

    def new(self, slug: str, file_name: str, size: int) -> Upload:
        upload = Upload(f"upload-{len(self._all) + 1}", slug, file_name, size)
        self._all[upload.token] = upload
        return upload

    def get(self, token: str) -> Upload | None:
        return self._all.get(token)

    def put(self, upload: Upload, body: bytes, headers: Mapping[str, str]) -> Reply:
        """201 when all is there, 308 with what has come while more is to come."""
        said = headers.get("Content-Range")
        if said is not None:
            found = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+)", said)
            if found is None or int(found[3]) != upload.size:
                return bytes_reply(b"Invalid Content-Range", "text/plain", 400)
            if found[1] is not None and (len(body) != int(found[2]) - int(found[1]) + 1):
                return bytes_reply(b"The body is not of the length that Content-Range says", "text/plain", 400)
            start = int(found[1]) if found[1] is not None else len(upload.content)
            if start > len(upload.content):
                return self._so_far(upload)
            self.keep(upload, body, start)
        elif len(body) != upload.size:
            return bytes_reply(f"Expected {upload.size} bytes, not {len(body)}".encode(), "text/plain", 400)
        else:
            self.keep(upload, body, 0)
        return bytes_reply(b"{}", status=201) if upload.is_whole else self._so_far(upload)

    def start_of(self, upload: Upload, headers: Mapping[str, str]) -> int:
        """Where a body begins, by its headers."""
        found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
        return min(int(found[1]), len(upload.content)) if found else 0

    def keep(self, upload: Upload, body: bytes, start: int) -> None:
        """What is submitted already does not change any more."""
        if not upload.is_used:
            upload.content = upload.content[:start] + body if body else upload.content

    def _so_far(self, upload: Upload) -> Reply:
        reply = bytes_reply(b"", "text/plain", 308)
        if upload.content:
            reply.headers["Range"] = f"bytes=0-{len(upload.content) - 1}"
        return reply
