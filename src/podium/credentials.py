"""The user's Kaggle credentials on this machine. `import kaggle` signs in over the network, so it is not used here."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from podium.files import parse_json

_LOGIN = Path("~/.kaggle/credentials.json")


class Credentials(NamedTuple):
    description: str
    """Where they are, and what is wrong with them."""
    are_usable: bool = True


def describe_credentials() -> str | None:
    """Where the official client finds its key, for messages; None if there is none."""
    found = find_credentials()
    return None if found is None else found.description


def find_credentials() -> Credentials | None:
    """The key that the official client uses."""
    if importlib.util.find_spec("kagglesdk") is None:
        return Credentials("unknown without the kaggle package")
    from kagglesdk.kaggle_env import get_access_token_from_env

    token, source = get_access_token_from_env()
    if token:
        return Credentials(f"access token, from {source}")
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        return Credentials("KAGGLE_USERNAME and KAGGLE_KEY")
    for folder in _folders():
        if (folder / "kaggle.json").is_file():
            return _describe_file(folder / "kaggle.json", "key", "create a new one on Kaggle's settings page")
    if _LOGIN.expanduser().is_file():
        return _describe_file(_LOGIN.expanduser(), "refresh_token", "run kaggle auth login --force")
    return None


def _describe_file(path: Path, secret: str, advice: str) -> Credentials:
    """A key file, or the file that `kaggle auth login` writes."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Credentials(f"cannot read {path}: {error}; {advice}", are_usable=False)
    if not isinstance(content, dict) or not content.get("username") or not content.get(secret):
        return Credentials(f"{path} has no username or {secret}; {advice}", are_usable=False)
    origin = ", from kaggle auth login" if path.name == _LOGIN.name else ""
    is_open = os.name == "posix" and path.stat().st_mode & 0o077
    return Credentials(f"{path}{origin}" + (", readable by other users: run chmod 600 on it" if is_open else ""))


def local_username() -> str | None:
    """The owner of the key on this machine, if it is known without a request to Kaggle."""
    files = (_field(text, "username") for text in _read_all("kaggle.json", _LOGIN.name))
    return os.environ.get("KAGGLE_USERNAME") or next(files, "") or None


_SECRET_NAMES = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
"""The ends of the names of environment variables with secrets."""


def local_secrets() -> set[str]:
    """The keys and tokens found on this machine."""
    found = {value for name, value in os.environ.items() if name.endswith(_SECRET_NAMES)}
    found |= {_field(text, "key") for text in _read_all("kaggle.json")}
    logins = list(_read_all(_LOGIN.name))
    found |= {_field(text, key) for text in logins for key in ("refresh_token", "access_token")}
    found |= set(_read_all("access_token", "access_token.txt"))
    return {secret for secret in found if len(secret) >= 8}


def _folders() -> list[Path]:
    named = [os.environ.get("KAGGLE_CONFIG_DIR"), "~/.kaggle", "~/.config/kaggle"]
    return [Path(folder).expanduser() for folder in named if folder]


def _read_all(*names: str) -> Iterator[str]:
    for folder in _folders():
        for name in names:
            with suppress(OSError, ValueError):
                yield (folder / name).read_text(encoding="utf-8").strip()


def _field(text: str, key: str) -> str:
    with suppress(ValueError):
        content = parse_json(text)
        if isinstance(content, dict) and isinstance(content.get(key), str):
            return str(content[key])
    return ""
