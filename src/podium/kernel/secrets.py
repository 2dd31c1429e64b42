"""Checks that no key, token or password is packed in a script or uploaded."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from podium.credentials import local_secrets
from podium.errors import BundleError

_SECRETS = (
    re.compile(r"""(?ix) \b (?:api_?)?key ["']? \s* [:=] \s* ["']? [0-9a-f]{32} \b"""),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(r"\bKGAT_[A-Za-z0-9_-]{16,}"),  # Kaggle
    re.compile(r"\b(?:gh[opsur]_[A-Za-z0-9]{30,}|github_pat_\w{22,}|glpat-[\w-]{20,})"),  # GitHub, GitLab
    re.compile(r"\bhf_[A-Za-z0-9]{30,}"),  # Hugging Face
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),  # Amazon
    re.compile(r"\bAIza[\w-]{35}"),  # Google
    re.compile(r"\bsk-[\w-]{20,}"),  # OpenAI, Anthropic
    re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),  # Slack
    re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+"),  # a JSON Web Token
    re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@{}]+:[^\s/:@{}]{3,}@"),  # a URL with a password
)
"""The published forms of keys and tokens."""
_OF_CONFIGS = (
    re.compile(r"(?i)\b[0-9a-f]{32}\b"),
    re.compile(r"\b[A-Z][A-Z0-9_]*_(?:KEY|TOKEN|SECRET|PASSWORD)\s*=\s*\S{8,}"),
    re.compile(r"""(?i)\b(?:password|passwd|secret|api_?key|(?:access|auth)_?token)["']?\s*[:=]\s*["']?[^\s"']{6,}"""),
)
"""In a library these may be a checksum or code; a config needs none of them."""
_KEY_FILES = re.compile(r"(?i)kaggle\.json|access_token(\.txt)?|credentials\.json|\.env|id_[a-z0-9]+|.*\.(pem|key)")


def check_for_secrets(files: Mapping[str, str], user_files: Iterable[str]) -> None:
    """Raise a BundleError with the location of a secret, not its text. `user_files` are checked more strictly."""
    user_files, secrets = set(user_files), local_secrets()
    for name, text in files.items():
        if _KEY_FILES.fullmatch(PurePosixPath(name).name):
            raise BundleError(f"{name} has the name of a key file and must not be packed; rename it")
        patterns = (*_SECRETS, *_OF_CONFIGS) if name in user_files else _SECRETS
        positions = [found.start() for pattern in patterns for found in pattern.finditer(text)]
        positions += [text.find(secret) for secret in secrets if secret in text]
        if positions:
            line = text.count("\n", 0, min(positions)) + 1
            raise BundleError(
                f"{name}, line {line}: a key, token or password, or text that looks like one, must not be packed:"
                " remove it, and create a new one if it was ever pushed"
            )
