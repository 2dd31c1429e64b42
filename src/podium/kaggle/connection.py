"""The way to Kaggle: the official client, its key, its time-outs, and the one seam that leads elsewhere."""

import importlib
import ipaddress
import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

from podium.credentials import describe_credentials
from podium.errors import CredentialsError, KaggleError
from podium.retries import SEAM, patiently

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
_originally: dict[str, str] = {}
"""Where the client goes by itself, once it is known: the seam may be set and unset within one process."""
_PLAIN = re.compile(r"http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?(?=/|\?|$)")
"""An address that every library reads alike: no name and password, no backslash."""


def connect() -> tuple[Any, str]:
    """The official client, signed in, and the name of who signed in."""
    api = patiently("signing in", _signed_in)
    user = api.config_values.get(api.CONFIG_NAME_USER)
    if not user:
        raise CredentialsError("the key does not say whose it is; make a new one on Kaggle's settings page")
    return api.build_kaggle_client(), str(user)


def _signed_in() -> Any:
    api = _client_class()()
    said = StringIO()  # the client prints its help, and leaves
    try:
        with redirect_stdout(said), redirect_stderr(said):
            if not isinstance(api.read_config_file(quiet=True), dict):
                raise CredentialsError(f"{api.config} holds no key; make one on Kaggle's settings page under API")
            api.authenticate()
    except SystemExit:
        found = describe_credentials()
        if found is None:
            raise CredentialsError(
                "no Kaggle key here; make a token on kaggle.com (Settings, API) and put it into ~/.kaggle/access_token"
            ) from None
        raise CredentialsError(
            f"Kaggle does not take the key ({found}); make a new token on kaggle.com (Settings, API) and put it there"
        ) from None
    return api


def endpoint() -> str | None:
    """Where the seam leads, if it is set: to this machine itself, or nowhere."""
    said = os.environ.get(SEAM)
    if not said:
        return None
    if not _is_here(said) or not _PLAIN.fullmatch(said.rstrip("/")):
        raise KaggleError(
            f"{SEAM} is {said!r}, and may name only this machine, such as http://127.0.0.1:8000; unset it for Kaggle"
        )
    return said.rstrip("/")


def check_address(url: str) -> str:
    """An address that is asked, or that Kaggle's answer names: encrypted, or on this machine where the seam leads."""
    if url.lower().startswith("https://") or (endpoint() and _is_here(url)):
        return url
    shown = ascii(url.partition("?")[0][:100])
    raise KaggleError(f"Kaggle names {shown} as an address, which is not encrypted; nothing is sent there")


def _is_here(url: str) -> bool:
    found = _PLAIN.match(url)
    return found is not None and _is_loopback(found[1].strip("[]"))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _client_class() -> type:
    """The official client's class, made to keep to time-outs, and to this seam."""
    named = endpoint()
    from kagglesdk import kaggle_env

    original = _originally.setdefault("endpoint", kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD])
    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = named or original
    _import_quietly()
    from kaggle.api.kaggle_api_extended import KaggleApi

    class PodiumsApi(KaggleApi):  # type: ignore[misc]  # the client has no types
        def build_kaggle_client(self) -> Any:
            values = self.config_values
            client = KaggleApi.build_kaggle_client_with_params(
                args=[],
                username=values.get(self.CONFIG_NAME_USER),
                password=values.get(self.CONFIG_NAME_KEY),
                api_token=values.get(self.CONFIG_NAME_TOKEN),
            )
            client.http_client()._init_session()
            _prepare(client.http_client()._session)
            return client

    return PodiumsApi


def _import_quietly() -> None:
    """`import kaggle` signs in. Here it finds no key meanwhile, so that it asks nobody."""
    if "kaggle" in sys.modules:
        return
    import kagglesdk
    from kagglesdk import kaggle_env

    found = kaggle_env.get_access_token_from_env
    places = [place for place in (kaggle_env, kagglesdk) if hasattr(place, "get_access_token_from_env")]
    for place in places:
        place.get_access_token_from_env = lambda: (None, None)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            # By its full name: the package's own `kaggle.api` is an object, not the folder.
            extended: Any = importlib.import_module("kaggle.api.kaggle_api_extended")
    finally:
        for place in places:
            place.get_access_token_from_env = found
    extended.get_access_token_from_env = found


def _prepare(session: Any, *, answers_keys: bool = True) -> None:
    """Time-outs on every request, which the client has none of; and an answer that holds no keys is none."""
    from requests.adapters import HTTPAdapter

    class Patient(HTTPAdapter):
        def send(self, request: Any, *arguments: Any, **options: Any) -> Any:
            check_address(request.url)  # also where a redirect leads
            options["timeout"] = options.get("timeout") or (CONNECT_SECONDS, READ_SECONDS)
            response = super().send(request, *arguments, **options)
            # The client takes `[]` for an answer in which everything is left out.
            is_whole = answers_keys and not options.get("stream") and response.status_code == 200
            if is_whole and not isinstance(response.json(), dict):
                raise ValueError("the answer holds no keys")
            return response

    for scheme in ("https://", "http://"):
        session.mount(scheme, Patient())


def plain_session() -> Any:
    """For signed addresses: they carry their own right, and must not be shown the key."""
    import requests

    class Plain(requests.Session):
        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            """Nor where a redirect leads."""

    session = Plain()
    session.auth = lambda request: request  # else a .netrc would add a key of its own
    _prepare(session, answers_keys=False)
    return session
