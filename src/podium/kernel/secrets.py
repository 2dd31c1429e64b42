"""Checks that no key, token or password is packed in a script or uploaded."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from podium.credentials import local_secrets
from podium.errors import BundleError

# Each begins with a fixed text, which re finds ten times as fast as \b and a text; (?<!\w...) after it is that \b.
_SECRETS = (
    *(
        re.compile(
            rf"""{key}(?:(?<![A-Za-z0-9]...)|(?<=[Aa][Pp][Ii]...))[\\"'\]]*\s*[:=]\s*[\\"']*[0-9A-Fa-f]{{32}}\b"""
        )
        for key in ("key", "Key", "KEY")
    ),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(r"KGAT_[A-Za-z0-9_-]{16,}"),  # Kaggle
    re.compile(r"gh[opsur]_(?<!\w....)[A-Za-z0-9]{30,}"),  # GitHub
    re.compile(r"github_pat_\w{22,}"),
    re.compile(r"glpat-[\w-]{20,}"),  # GitLab
    re.compile(r"hf_(?<!\w...)[A-Za-z0-9]{30,}"),  # Hugging Face
    re.compile(r"AKIA(?<!\w....)[A-Z0-9]{16}\b"),  # Amazon
    re.compile(r"ASIA(?<!\w....)[A-Z0-9]{16}\b"),
    re.compile(r"AIza(?<![\w+/]....)[\w-]{35}"),  # Google
    re.compile(r"sk-(?<!\w...)(?=[\w-]*\d)[\w-]{20,}"),  # OpenAI, Anthropic; with a digit, unlike the classes of a page
    re.compile(r"xox(?<!\w...)[abeoprs]-[A-Za-z0-9-]{10,}"),  # Slack
    re.compile(r"eyJ(?<!\w...)[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+"),  # a JSON Web Token
    re.compile(r"""://[^\s/:@{}"'<>]+:[^\s/:@{}"'<>]{3,}@"""),  # a URL with a password
)
"""The published forms of keys and tokens."""
_ASSIGNED = (
    re.compile(r"\b[A-Z][A-Z0-9_]*_(?:KEY|TOKEN|SECRET|PASSWORD)\s*=\s*\S{8,}"),
    re.compile(r"""(?i)\b(?:password|passwd|secret|api_?key|(?:access|auth)_?token)["']?\s*[:=]\s*["']?[^\s"']{6,}"""),
)
_OF_CONFIGS = (re.compile(r"(?i)\b[0-9a-f]{32}\b"), *_ASSIGNED)
"""In a library these may be a checksum or code; a config needs none of them."""
_IN_CODE = (
    re.compile(
        r"""(?ix) (?:password|passwd|secret|api_?key|(?:access|auth)_?token) [\\"'\]]* \s* [:=] \s*
        \\?["'] [^\s"'\\{}<>]{6,} \\?["']"""
    ),
)
"""In code a value is in quotes: `password = getpass()` is none."""
_OF_SUFFIX = (
    dict.fromkeys((".cfg", ".conf", ".env", ".ini", ".properties", ".toml", ".yaml", ".yml"), _ASSIGNED)
    | dict.fromkeys((".ipynb", ".js", ".py", ".r"), _IN_CODE)
)  # fmt: skip
_BINARY = {
    ".bmp", ".dcm", ".gif", ".jp2", ".jpeg", ".jpg", ".nii", ".png", ".tif", ".tiff", ".webp", ".avi", ".mp4",
    ".h5", ".hdf5", ".keras", ".npy", ".npz", ".onnx", ".parquet", ".pt", ".pth", ".safetensors", ".tflite",
    ".tfrecord", ".7z", ".bz2", ".gz", ".tar", ".tgz", ".xz", ".zip",
}  # fmt: skip
"""Images, weights and archives, of which a dataset may have a hundred gigabytes."""
_KEY_FILES = re.compile(r"(?i)kaggle\.json|access_token(\.txt)?|credentials\.json|\.env|id_[a-z0-9]+|.*\.(pem|key)")
_BLOCK, _OVERLAP = 1 << 22, 1 << 12


def check_for_secrets(files: Mapping[str, str], user_files: Iterable[str]) -> None:
    """Raise a BundleError with the location of a secret, not its text. `user_files` are checked more strictly."""
    user_files, secrets = set(user_files), local_secrets()
    for name, text in files.items():
        check_name(name)
        _check(name, [text], (*_SECRETS, *_OF_CONFIGS) if name in user_files else _SECRETS, secrets)


def check_file(path: Path, name: str, secrets: Collection[str]) -> None:
    """The same for a file of any size and encoding, unless its suffix is that of images, weights or archives."""
    if (suffix := path.suffix.lower()) not in _BINARY:
        _check(name, _blocks(path), (*_SECRETS, *_OF_SUFFIX.get(suffix, ())), secrets)


def check_name(name: str) -> None:
    if _KEY_FILES.fullmatch(PurePosixPath(name).name):
        raise BundleError(f"{name} has the name of a key file and must not be sent to Kaggle; rename it")


def _check(name: str, blocks: Iterable[str], patterns: Iterable[re.Pattern[str]], secrets: Collection[str]) -> None:
    patterns, line = tuple(patterns), 1
    for text in blocks:
        positions = [found.start() for pattern in patterns for found in pattern.finditer(text)]
        positions += [text.find(secret) for secret in secrets if secret in text]
        if positions:
            line += text.count("\n", 0, min(positions))
            raise BundleError(
                f"{name}, line {line}: a key, token or password, or text that looks like one, must not be sent to"
                " Kaggle: remove it, and create a new one if it was ever pushed"
            )
        line += text.count("\n")


def _blocks(path: Path) -> Iterator[str]:
    """The text of a file in whole lines; where there are none, with an overlap. Without its zero bytes, UTF-16 with
    Latin letters is what UTF-8 is."""
    rest = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            lines, newline, rest = (rest + block.replace(b"\0", b"")).rpartition(b"\n")
            if not newline:
                lines, rest = rest, rest[-_OVERLAP:]
            yield (lines + newline).decode("utf-8", "replace")
    yield rest.decode("utf-8", "replace")
