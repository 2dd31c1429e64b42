"""The way to Kaggle: the official client, its key, its time-outs, and the one seam that leads elsewhere."""

import importlib
import ipaddress
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

from podium.errors import CredentialsError, KaggleError
from podium.kaggle.retries import SEAM, patiently

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0


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
            api.authenticate()
    except SystemExit:
        raise CredentialsError(
            "Kaggle's key is missing, or Kaggle does not take it: make one on Kaggle's settings page under API, and put"
            " it where it says (podium doctor tells what is found)"
        ) from None
    return api


def endpoint() -> str | None:
    """Where the seam leads, if it is set: to this machine itself, or nowhere."""
    said = os.environ.get(SEAM)
    if not said:
        return None
    parts = urlsplit(said)
    if parts.scheme != "http" or not _is_loopback(parts.hostname) or parts.path.strip("/"):
        raise KaggleError(
            f"{SEAM} is {said!r}, and may name only this machine, such as http://127.0.0.1:8000; unset it for Kaggle"
        )
    return said.rstrip("/")


def check_address(url: str) -> str:
    """An address that Kaggle's answer names: encrypted, or on this machine where the seam leads there."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and endpoint() and _is_loopback(parts.hostname)):
        return url
    raise KaggleError(f"Kaggle names {parts.scheme}://{parts.hostname}, which is not encrypted; nothing is sent there")


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _client_class() -> type:
    """The official client's class, made to keep to time-outs, and to this seam."""
    named = endpoint()
    from kagglesdk import kaggle_env

    original = getattr(_client_class, "original", kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD])
    _client_class.original = original  # type: ignore[attr-defined]
    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = named or original
    _import_quietly()
    from kaggle.api.kaggle_api_extended import KaggleApi

    class PodiumsApi(KaggleApi):  # type: ignore[misc]
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
        def send(self, *arguments: Any, **options: Any) -> Any:
            options["timeout"] = options.get("timeout") or (CONNECT_SECONDS, READ_SECONDS)
            response = super().send(*arguments, **options)
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

    session = requests.Session()
    session.trust_env = False  # a .netrc would add a key of its own
    _prepare(session, answers_keys=False)
    return session
