"""Checks that no Kaggle key is packed in a script."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from podium.credentials import local_secrets
from podium.errors import BundleError

_SECRETS = (
    re.compile(r"""(?ix) \b (?:api_?)?key ["']? \s* [:=] \s* ["']? [0-9a-f]{32} \b"""),
    re.compile(r"\bKGAT_[A-Za-z0-9_-]{16,}"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
)
_BARE_KEY = re.compile(r"\b[0-9a-f]{32}\b")
"""In a library this may be a checksum; a config does not need any."""
_KEY_FILES = re.compile(r"(?i)kaggle\.json|access_token(\.txt)?|credentials\.json|\.env|id_[a-z0-9]+|.*\.(pem|key)")


def check_for_secrets(files: Mapping[str, str], user_files: Iterable[str]) -> None:
    """Raise a BundleError with the location of a secret, not its text. `user_files` are checked more strictly."""
    user_files, secrets = set(user_files), local_secrets()
    for name, text in files.items():
        if _KEY_FILES.fullmatch(PurePosixPath(name).name):
            raise BundleError(f"{name} has the name of a key file and must not be packed; rename it")
        patterns = (*_SECRETS, _BARE_KEY) if name in user_files else _SECRETS
        positions = [found.start() for pattern in patterns for found in pattern.finditer(text)]
        positions += [text.find(secret) for secret in secrets if secret in text]
        if positions:
            line = text.count("\n", 0, min(positions)) + 1
            raise BundleError(
                f"{name}, line {line}: a Kaggle key, or text that looks like one, must not be packed; remove it, and"
                " create a new key if it was ever pushed"
            )
