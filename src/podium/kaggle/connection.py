"""The connection to Kaggle: the official client, its key and timeouts, and the variable that redirects it in tests."""

import importlib
import ipaddress
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from operator import attrgetter
from typing import Any

from podium.credentials import find_credentials
from podium.errors import CredentialsError, KaggleError
from podium.retries import CALL_SECONDS, ENDPOINT_VARIABLE, Deadline, status_of, with_retries
from podium.signals import run_interruptibly

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
_default_endpoint: dict[str, str] = {}
"""The client's own endpoint, once it is known: the variable may be set and unset within one process."""
_PLAIN_URL = re.compile(r"http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?(?=/|\?|$)")
"""A URL that all libraries parse in the same way: no user name and password, no backslash."""


class Connection:
    """The signed-in official client. It signs in again if its token has expired: the client asks for 12 hours."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        with_retries("signing in", self._sign_in)

    def call(self, service: str, method: str, request: Any) -> Any:
        """Call a method of a service, such as `kernels.kernels_api_client`. A rejected token is renewed once."""
        import requests

        def send(client: Any) -> Any:
            bound = getattr(attrgetter(service)(client), method)
            return run_interruptibly(lambda: bound(request), Deadline(CALL_SECONDS).is_over)

        client = self._client
        try:
            return send(client)
        except requests.HTTPError as error:
            if status_of(error) != 401 or not self._has_renewed(client):
                raise
        return send(self._client)

    def _has_renewed(self, rejected: Any) -> bool:
        """Sign in again, unless another thread did; whether the credentials are others than before."""
        with self._lock:
            if self._client is not rejected:
                return True
            before = self._credentials
            self._sign_in(before)
            return self._credentials != before

    def _sign_in(self, rejected: str = "") -> None:
        streams = sys.stdin, sys.stdout, sys.stderr
        try:
            api = run_interruptibly(lambda: _signed_in_api(rejected), Deadline(CALL_SECONDS).is_over)
        finally:  # a thread that is left behind leaves them redirected
            sys.stdin, sys.stdout, sys.stderr = streams
        values = api.config_values
        user = values.get(api.CONFIG_NAME_USER)
        if not user:
            raise CredentialsError("the API key has no user name; create a new one in Kaggle's settings")
        self.user, self._client = str(user), api.build_kaggle_client()
        self._credentials = str(values.get(api.CONFIG_NAME_TOKEN) or values.get(api.CONFIG_NAME_KEY))


def _signed_in_api(rejected: str = "") -> Any:
    """The official client, signed in with other credentials than the rejected ones if there are any."""
    api = _client_class()()
    try:
        with _silenced():
            if not isinstance(api.read_config_file(quiet=True), dict):
                raise CredentialsError(f"{api.config} contains no key; create one in Kaggle's settings under API")
            if rejected:
                _renew_login(api, rejected)
            api.authenticate()
    except SystemExit:
        found = find_credentials()
        if found is None:
            raise CredentialsError(
                "no Kaggle API key found; create a token on kaggle.com (Settings, API) and save it as"
                " ~/.kaggle/access_token, or run kaggle auth login"
            ) from None
        if not found.are_usable:
            raise CredentialsError(f"no usable Kaggle API key: {found.description}") from None
        raise CredentialsError(
            f"Kaggle rejected the API key ({found.description}); create a new token on kaggle.com (Settings, API)"
            " and save it there, or run kaggle auth login --force"
        ) from None
    return api


@contextmanager
def _silenced() -> Iterator[None]:
    """Without a key the client prints its help and calls `exit`, which closes stdin."""
    stdin, output = sys.stdin, StringIO()
    sys.stdin = StringIO()
    try:
        with redirect_stdout(output), redirect_stderr(output):
            yield
    finally:
        sys.stdin = stdin


def _renew_login(api: Any, rejected: str) -> None:
    """Replace the token of `kaggle auth login`: the client would use it for half an hour after it has expired."""
    from kagglesdk import KaggleCredentials

    with api.build_kaggle_client() as client:
        login = KaggleCredentials.load(client=client)
        if login is not None and login.get_access_token() == rejected:
            login.refresh_access_token()


def endpoint() -> str | None:
    """The test server set in the environment variable; it must be on this machine."""
    url = os.environ.get(ENDPOINT_VARIABLE)
    if not url:
        return None
    if not _is_local(url) or not _PLAIN_URL.fullmatch(url.rstrip("/")):
        raise KaggleError(
            f"{ENDPOINT_VARIABLE} is {url!r}; expected a local URL, such as http://127.0.0.1:8000;"
            " unset it to use Kaggle"
        )
    return url.rstrip("/")


def check_address(url: str) -> str:
    """Return the URL if it is encrypted, or local while a test server is set; otherwise raise an error."""
    if url.lower().startswith("https://") or (endpoint() and _is_local(url)):
        return url
    shown = ascii(url.partition("?")[0][:100])
    raise KaggleError(f"Kaggle sent the URL {shown}, which is not encrypted; no request was sent to it")


def _is_local(url: str) -> bool:
    found = _PLAIN_URL.match(url)
    if found is None:
        return False
    host = found[1].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _client_class() -> type:
    """The official client's class, with timeouts, for the endpoint in use."""
    override = endpoint()
    from kagglesdk import kaggle_env

    default = _default_endpoint.setdefault("url", kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD])
    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = override or default
    _import_without_signing_in()
    from kaggle.api.kaggle_api_extended import KaggleApi

    class ClientWithTimeouts(KaggleApi):  # type: ignore[misc]  # the client has no types
        def build_kaggle_client(self) -> Any:
            values = self.config_values
            client = KaggleApi.build_kaggle_client_with_params(
                args=[],
                username=values.get(self.CONFIG_NAME_USER),
                password=values.get(self.CONFIG_NAME_KEY),
                api_token=values.get(self.CONFIG_NAME_TOKEN),
            )
            client.http_client()._init_session()
            _mount(client.http_client()._session, expects_object=True)
            return client

    return ClientWithTimeouts


def _import_without_signing_in() -> None:
    """Import `kaggle`, which signs in on import, with its key hidden, so that it sends no request."""
    if "kaggle" in sys.modules:
        return
    import kagglesdk
    from kagglesdk import kaggle_env

    original = kaggle_env.get_access_token_from_env
    modules = [module for module in (kaggle_env, kagglesdk) if hasattr(module, "get_access_token_from_env")]
    for module in modules:
        module.get_access_token_from_env = lambda: (None, None)
    try:
        with _silenced():
            # By its full name: the package's own `kaggle.api` is an object, not the folder.
            extended: Any = importlib.import_module("kaggle.api.kaggle_api_extended")
    finally:
        for module in modules:
            module.get_access_token_from_env = original
    extended.get_access_token_from_env = original


def plain_session() -> Any:
    """A session for signed URLs, which need no key and must not be sent one."""
    import requests

    class Plain(requests.Session):
        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            """Add no credentials after a redirect either."""

    session = Plain()
    session.auth = lambda request: request  # or .netrc would add a key
    _mount(session, expects_object=False)
    return session


def _mount(session: Any, *, expects_object: bool) -> None:
    """Add timeouts and address checks to every request, and reject responses that are not a JSON object."""
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def send(self, request: Any, *arguments: Any, **options: Any) -> Any:
            check_address(request.url)  # redirects too
            options["timeout"] = options.get("timeout") or (CONNECT_SECONDS, READ_SECONDS)
            response = super().send(request, *arguments, **options)
            is_read = expects_object and not options.get("stream") and response.status_code == 200
            # kagglesdk reads `[]` as a response with every field left out.
            if is_read and not isinstance(response.json(), dict):
                raise ValueError("the response is not a JSON object")
            return response

    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter())
