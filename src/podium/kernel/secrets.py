"""Kaggle's keys on this machine: whose they are, and that none of them, nor anything like one, leaves in a script."""

import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from podium.errors import BundleError

_FORMS = (
    re.compile(r"""(?ix) \b (?:api_?)?key ["']? \s* [:=] \s* ["']? [0-9a-f]{32} \b"""),
    re.compile(r"\bKGAT_[A-Za-z0-9_-]{16,}"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
)
_BARE = re.compile(r"\b[0-9a-f]{32}\b")
"""Of a legacy key. In a library such a word is a checksum; in a config nothing needs one."""
_FILES = re.compile(r"(?i)kaggle\.json|access_token(\.txt)?|credentials\.json|\.env|id_[a-z0-9]+|.*\.(pem|key)")


def check_for_secrets(files: Mapping[str, str], written_by_a_person: Iterable[str]) -> None:
    """Refuse a bundle that holds one, and say where. The secret itself is not repeated."""
    by_hand = set(written_by_a_person)
    own = _secrets_of_this_machine()
    for name, text in files.items():
        if _FILES.fullmatch(PurePosixPath(name).name):
            raise BundleError(f"{name} has the name of a file of keys; it must not travel: name another file")
        forms = (*_FORMS, _BARE) if name in by_hand else _FORMS
        places = [found.start() for form in forms for found in form.finditer(text)]
        places += [text.find(secret) for secret in own if secret in text]
        if places:
            line = text.count("\n", 0, min(places)) + 1
            raise BundleError(
                f"{name}, line {line}: text in the form of a Kaggle key, or your own; a script must not hold one:"
                " take it out, and make a new key if it was ever sent"
            )


def where_the_key_is() -> str | None:
    """Where the official client would find its key, in words. `import kaggle` signs in, so it is not imported here."""
    if importlib.util.find_spec("kagglesdk") is None:
        return "unknown without kaggle"
    from kagglesdk.kaggle_env import get_access_token_from_env

    token, source = get_access_token_from_env()
    if token:
        return f"access token, from {source}"
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        return "KAGGLE_USERNAME and KAGGLE_KEY"
    for folder in _folders():
        if (folder / "kaggle.json").is_file():
            return _key_file(folder / "kaggle.json")
    return None


def _key_file(file: Path) -> str:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"{file} cannot be read: {error}"
    if not isinstance(content, dict) or not content.get("username") or not content.get("key"):
        return f"{file} lacks username or key; make a new one on Kaggle's settings page"
    others = file.stat().st_mode & 0o077
    return f"{file}" + (", which others can read: chmod 600 it" if others and os.name == "posix" else "")


def _folders() -> list[Path]:
    named = [os.environ.get("KAGGLE_CONFIG_DIR"), "~/.kaggle", "~/.config/kaggle"]
    return [Path(folder).expanduser() for folder in named if folder]


def user_of_this_machine() -> str | None:
    """Whose key lies here, as far as that is known without asking Kaggle."""
    named = os.environ.get("KAGGLE_USERNAME") or next((_part(text, "username") for text in _texts("kaggle.json")), "")
    return named or None


def _secrets_of_this_machine() -> set[str]:
    found = {os.environ.get(name, "") for name in ("KAGGLE_KEY", "KAGGLE_API_TOKEN")}
    found |= {_part(text, "key") for text in _texts("kaggle.json")}
    found |= set(_texts("access_token", "access_token.txt"))
    return {secret for secret in found if len(secret) >= 8}


def _texts(*names: str) -> Iterator[str]:
    for folder in _folders():
        for name in names:
            with suppress(OSError, ValueError):
                yield (folder / name).read_text(encoding="utf-8").strip()


def _part(text: str, key: str) -> str:
    with suppress(ValueError):
        content = json.loads(text)
        if isinstance(content, dict) and isinstance(content.get(key), str):
            return str(content[key])
    return ""
