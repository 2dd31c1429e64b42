"""The stand-in for Kaggle's service: its state, and the methods for tests.

    with StandIn(user="ada") as standin:
        standin.add_competition("cars", {"train.csv": b"..."}, answers={"1.jpg": "Sedan"})
        standin.fail("SaveKernel", Fault.status(429, retry_after=1), times=2)
        ...                                  # the real client, at standin.endpoint
        standin.finish("ada/my-kernel/1", files={"a.csv": b"..."}, log="done\n")

The state is kept in memory. Nothing sleeps: waiting ends with a change or when the stand-in stops.
"""

import base64
import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import SplitResult

from kagglesdk.kernels.types.kernels_api_service import ApiSaveKernelRequest
from kagglesdk.security.types.oauth_service import IntrospectTokenRequest, IntrospectTokenResponse
from kagglesdk.users.types.account_service import GenerateAccessTokenRequest, GenerateAccessTokenResponse
from standin.competitions import Competition, Competitions, Scorer, Submission, Upload, accuracy_against
from standin.datasets import Blob, Datasets
from standin.faults import Fault, Faults
from standin.kernels import Kernel, Kernels, LogLine, State, Version
from standin.replies import Refusal
from standin.reported import Reported
from standin.routes import FileAddress, Rpc, route
from standin.server import Server
from standin.sessions import Runner, Sessions, seconds_since

Item = TypeVar("Item")


class Call(NamedTuple):
    """The parsed request, a Transfer for the URL of a file, or None if it was not read."""

    method: str
    request: Any


class StandIn:
    """Kaggle for one user, on a free port of 127.0.0.1."""

    def __init__(self, user: str = "ada", port: int = 0) -> None:
        self.user = user
        self.key = "a-made-up-key"
        self.token = "a-made-up-token"
        self.refresh_token = "a-made-up-refresh-token"
        self.kernels: dict[tuple[str, str], Kernel] = {}
        self.competitions: dict[str, Competition] = {}
        self.datasets: dict[str, dict[str, bytes]] = {}
        self.models: dict[str, dict[str, bytes]] = {}
        """By owner/model/framework/variation/version."""
        self.runner: Runner | None = None
        self.reported = Reported()
        self.page_size = 3
        """Where a request names none."""
        self.largest_page = 100
        self.gpu_used = timedelta()
        self.gpu_allowed = timedelta(hours=30)
        self.calls: list[Call] = []
        self.crashes: list[str] = []
        """Errors of the stand-in itself, and requests for methods that it does not have."""
        self.faults = Faults()
        self.uploads: dict[str, Upload | Blob] = {}
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC).replace(tzinfo=None)
        self.stopping = False
        self.changed = threading.Condition()
        self.sessions = Sessions(self)
        self.kernel_methods = Kernels(self)
        self.competition_methods = Competitions(self)
        self.dataset_methods = Datasets(self)
        self._reserved: timedelta | None = None
        self._links = self._rpcs = self._downloads = 0
        self._ids = 1000
        self._actions: list[list[Any]] = []
        self._port = port
        self._server: Server | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    # Its life

    def start(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="stand-in-")
        (self.folder / "home").mkdir()
        self._server = Server(self, self._port)
        return self

    def stop(self) -> None:
        """Ends sessions, stalls and streams, and returns when all is closed."""
        if self._server is None:
            return
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
        self.sessions.stop()
        self._server.close()
        self._server = None
        assert self._temporary is not None
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        assert self._temporary is not None, "the stand-in is not started"
        return Path(self._temporary.name)

    @property
    def endpoint(self) -> str:
        assert self._server is not None, "the stand-in is not started"
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach the stand-in, signed in, and to see no key of this machine."""
        return {
            "PODIUM_KAGGLE_ENDPOINT": self.endpoint,
            "KAGGLE_USERNAME": self.user,
            "KAGGLE_KEY": self.key,
            "KAGGLE_API_TOKEN": "",
            "KAGGLE_CONFIG_DIR": str(self.folder / "home" / ".kaggle"),
            "HOME": str(self.folder / "home"),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    # For tests

    def add_competition(
        self,
        slug: str,
        data: Path | Mapping[str, bytes],
        score: Scorer | None = None,
        *,
        answers: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Competition:
        """`settings` are the fields of Competition. Without `score`, the accuracy against `answers`."""
        scorer = score or accuracy_against(answers or {})
        title = settings.pop("title", slug.replace("-", " ").title())
        competition = Competition(slug, title, self.new_id(), data, scorer, **settings)
        with self.changed:
            self.competitions[slug] = competition
        return competition

    def add_kernel(
        self, name: str, files: Mapping[str, bytes] | None = None, *, is_private: bool = True, source: str = "pass\n"
    ) -> Kernel:
        """A kernel with one complete version, of this user or another."""
        owner, slug = name.split("/")
        request = ApiSaveKernelRequest()
        request.slug, request.text, request.language, request.kernel_type = name, source, "python", "script"
        with self.changed:
            kernel = self.new_kernel(owner, slug)
            kernel.is_private = is_private
            version = self.new_version(kernel, request, [])
            version.files, version.state = dict(files or {}), "complete"
        return kernel

    def add_submission(
        self, slug: str, content: bytes, description: str = "", file_name: str = "submission.csv"
    ) -> Submission:
        """One that the user made elsewhere, on Kaggle's own pages."""
        with self.changed:
            return self.competition_methods.add(self.competitions[slug], file_name, content, description)

    def version(self, ref: object) -> Version:
        """By `owner/slug/number`, or the newest of `owner/slug`; also takes what prints itself like that."""
        parts = str(getattr(ref, "ref", ref)).split("/")
        kernel = self.kernels[parts[0], parts[1]]
        return kernel.versions[int(parts[2].removeprefix("v")) - 1] if len(parts) == 3 else kernel.newest

    def begin(self, ref: object) -> Version:
        """From queued to running."""
        version = self.version(ref)
        with self.changed:
            version.state, version.started = "running", time.monotonic()
            self.changed.notify_all()
        return version

    def finish(
        self,
        ref: object,
        files: Mapping[str, bytes] | None = None,
        log: str = "",
        state: State = "complete",
        failure: str = "",
        hours: float | None = None,
    ) -> Version:
        """End a session that no runner runs; `log` is appended to its lines."""
        version = self.version(ref)
        with self.changed:
            version.lines += [LogLine("stdout", 0.0, line) for line in log.splitlines(keepends=True)]
            version.files = dict(files or {})
            self.close(version, state, failure, hours)
        return version

    def gpu_hours(self, used: float | None = None, allowed: float | None = None, reserved: float | None = None) -> None:
        """`reserved` otherwise is the time that running sessions have taken so far."""
        with self.changed:
            self.gpu_used = self.gpu_used if used is None else timedelta(hours=used)
            self.gpu_allowed = self.gpu_allowed if allowed is None else timedelta(hours=allowed)
            self._reserved = self._reserved if reserved is None else timedelta(hours=reserved)

    def fail(self, name: str, fault: Fault, times: int | None = 1, after: int = 0) -> None:
        """The next `times` calls of this name meet the fault, once `after` of them went well; None is for ever.

        A name is a method's, or "upload", "output-file", "data-zip", or "*" for any.
        """
        self.faults.add(name, fault, times, after)

    def heal(self) -> None:
        """Forget the faults that have not come yet."""
        self.faults.clear()

    def when(self, name: str, action: Callable[[], object], call: int = 1) -> None:
        """Do something just before the `call`-th of the coming calls of this name is answered."""
        self._actions.append([name, call, action])

    def delete_kernel(self, name: str) -> None:
        """As its owner does on Kaggle's pages."""
        owner, slug = name.split("/")
        with self.changed:
            del self.kernels[owner, slug]

    def log_in(self) -> Path:
        """Write what `kaggle auth login` leaves in the home folder."""
        path = self.folder / "home" / ".kaggle" / "credentials.json"
        expires = (datetime.now(UTC) + timedelta(hours=12)).isoformat()
        content = {"refresh_token": self.refresh_token, "access_token": self.token, "access_token_expiration": expires}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content | {"username": self.user, "scopes": ["resources.admin:*"]}))
        path.chmod(0o600)
        return path

    def expire_token(self) -> None:
        """The access token is rejected from now on; the refresh token gives a new one."""
        self.token += "-again"

    def expire_links(self) -> None:
        """Signed addresses that were given out so far do not work any more."""
        self._links += 1

    def wait_until(self, holds: Callable[[], bool], seconds: float = 60) -> bool:
        """Whether the condition became true in time; checked at every change."""
        with self.changed:
            return self.changed.wait_for(holds, seconds)

    def count(self, name: str) -> int:
        return sum(call.method == name for call in self.calls)

    @property
    def connections(self) -> int:
        """How many there have been so far."""
        return self._server.connections if self._server else 0

    @property
    def submissions(self) -> dict[str, list[Submission]]:
        """Of every competition, the oldest first."""
        return {slug: competition.submissions for slug, competition in self.competitions.items()}

    @property
    def gpu_reserved(self) -> timedelta:
        if self._reserved is not None:
            return self._reserved
        running = [version for version in self.versions() if version.is_gpu and not version.is_over]
        return sum((seconds_since(version.started) for version in running), timedelta())

    # For the other parts of the stand-in

    def versions(self) -> list[Version]:
        """Of all kernels, in the order of their pushes."""
        every = [version for kernel in list(self.kernels.values()) for version in list(kernel.versions)]
        return sorted(every, key=lambda version: version.session_id)

    def new_id(self) -> int:
        self._ids += 1
        return self._ids

    def new_kernel(self, owner: str, slug: str) -> Kernel:
        self.kernels[owner, slug] = Kernel(owner, slug, slug, self.new_id())
        return self.kernels[owner, slug]

    def new_version(self, kernel: Kernel, request: ApiSaveKernelRequest, sources: Sequence[tuple[str, str]]) -> Version:
        number = len(kernel.versions) + 1
        version = Version(f"{kernel.name}/{number}", number, self.new_id(), request, self.changed, list(sources))
        kernel.versions.append(version)
        self.changed.notify_all()
        return version

    def close(self, version: Version, state: State, failure: str, hours: float | None = None) -> None:
        """The caller holds the lock."""
        took = seconds_since(version.started) if hours is None else timedelta(hours=hours)
        version.state, version.failure, version.seconds = state, failure, took.total_seconds()
        if version.is_gpu:
            self.gpu_used += took
        self.changed.notify_all()

    def content_of(self, kind: str, name: str) -> Path | Mapping[str, bytes]:
        """The files of a source."""
        if kind == "competition":
            return self.competitions[name].data
        if kind == "kernel":
            owner, slug = name.split("/")[:2]
            complete = self.kernels[owner, slug].newest_complete
            return complete.files if complete else {}
        return self.models[name] if kind == "model" else self.datasets[name]

    def stored(self, parts: Sequence[str]) -> bytes | Path | None:
        """The file at a signed URL."""
        if parts[0] == "kf":
            version = next((version for version in self.versions() if str(version.session_id) == parts[1]), None)
            return version.files.get("/".join(parts[2:])) if version else None
        competition = self.competitions.get(parts[1]) if parts[0] == "data" else None
        if competition is None:
            return None
        path = self.folder / f"data-{competition.id}.zip"
        return path if path.is_file() else competition.zipped(path)

    def page(self, items: Sequence[Item], request: Any, name: str) -> tuple[list[Item], str | None]:
        """The requested page of a list, and the token of the next."""
        size = min(request.page_size or self.page_size, self.largest_page)
        start = 0
        if request.page_token:
            list_name, _, number = base64.urlsafe_b64decode(request.page_token).decode().rpartition(":")
            if list_name != name:
                raise Refusal(400, "The page token is of another list")
            start = int(number)
        more = start + size < len(items)
        token = base64.urlsafe_b64encode(f"{name}:{start + size}".encode()).decode()
        return list(items[start : start + size]), token if more else None

    def sign(self, path: str) -> str:
        """At another host name than the service's own: a client must not send its key there."""
        assert self._server is not None
        return f"http://localhost:{self._server.port}{path}?signature={self.signature(path)}"

    def signature(self, path: str) -> str:
        return hashlib.sha256(f"{self._links}:{path}".encode()).hexdigest()[:24]

    def check_key(self, headers: Mapping[str, str]) -> None:
        basic = base64.b64encode(f"{self.user}:{self.key}".encode()).decode()
        if headers.get("Authorization") not in (f"Basic {basic}", f"Bearer {self.token}"):
            raise Refusal(401, "Unauthenticated")

    def introspect(self, request: IntrospectTokenRequest) -> IntrospectTokenResponse:
        answer = IntrospectTokenResponse()
        answer.active = request.token == self.token
        answer.username = self.user if answer.active else ""
        return answer

    def generate_token(self, request: GenerateAccessTokenRequest) -> GenerateAccessTokenResponse:
        if request.refresh_token != self.refresh_token:
            raise Refusal(401, "Unauthenticated")
        answer = GenerateAccessTokenResponse()
        answer.token, answer.expires_in, answer.user_name = self.token, 12 * 3600, self.user
        return answer

    def unknown(self, permission: str, message: str = "Not found") -> Refusal:
        """The answer about what does not exist."""
        if self.reported.unknown_is_forbidden:
            return Refusal(403, f"Permission '{permission}' was denied")
        return Refusal(404, message)

    def usual_fault(self, route: Any) -> Fault | None:
        """What a call meets without a fault that a test queued."""
        reported = self.reported
        with self.changed:
            if isinstance(route, Rpc):
                self._rpcs += 1
                if reported.calls_per_token and self._rpcs % reported.calls_per_token == 0:
                    self.expire_token()
                if reported.calls_per_limit and self._rpcs % reported.calls_per_limit == 0:
                    return Fault.status(429, message="Too many requests", retry_after=0)
            elif route.name != "upload":
                self._downloads += 1
                if reported.downloads_per_link and self._downloads % reported.downloads_per_link == 0:
                    self.expire_links()
        return None

    def route(self, method: str, address: SplitResult, headers: Mapping[str, str]) -> Rpc | FileAddress:
        return route(self, method, address, headers)

    def note(self, route: Any, is_read: bool = True) -> None:
        """One more call, and what is to happen at it."""
        with self.changed:
            self.calls.append(Call(route.name, route.request if is_read else None))
            due = []
            for action in list(self._actions):
                if action[0] == route.name:
                    action[1] -= 1
                    if action[1] == 0:
                        due.append(action[2])
                        self._actions.remove(action)
            self.changed.notify_all()
        for do in due:
            do()
