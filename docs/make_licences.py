"""python docs/make_licences.py: write docs/licences.md, the licences of all distributions that podium needs to run."""

import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
COPYLEFT = re.compile(r"GPL|General Public|Mozilla|MPL|EPL|Eclipse|EUPL|CeCILL|CDDL|Share ?Alike|\bSSPL", re.IGNORECASE)
LONGEST = 60
"""Characters of a licence's name; a longer entry is the licence itself."""

TEXT = """\
# Licences of what podium needs

podium itself is under the [MIT licence](../LICENSE). `make install` installs these distributions next to it, in the
versions of the lock; those of the extras and of the tests are not listed. The table is from the metadata of the
distributions on Linux with Python 3.11, and `make licences` writes it again. On Windows, colorama (BSD-3-Clause) is
added.

{table}

## Copyleft

podium's own sources, wheels and packed scripts contain none of these distributions; it imports them as packages of
their own. These are under a copyleft licence, or offer one as a choice:

{copyleft}

Their wheels for Linux contain shared libraries with licences of their own. Those under the GPL or LGPL are FFmpeg in
opencv-python-headless (LGPL-2.1), and runtime libraries of GCC in numpy, scipy, scikit-learn, simsimd and
opencv-python-headless: libgfortran and libgomp (GPL-3.0 with the exception for runtime libraries), and libquadmath
(LGPL-2.1). Whoever passes on an environment or a container image with podium passes these on too.

albumentations stays below 2.1, because its successor is under the AGPL.

## Supply chain

- `requirements.txt` names the exact version and the digests of every distribution, and `make install` accepts no other.
- The nightly job runs `pip-audit` over that file: known vulnerabilities fail it.
- `make sbom` writes a software bill of materials of the environment in the format of CycloneDX, `build/sbom.json`.
"""

REMARKS = {
    "certifi": "certificates of authorities; its own files only",
    "text-unidecode": "used under the Artistic License; needed by the Kaggle client, through python-slugify",
    "tqdm": "progress bars; its own files only",
}
"""What the licences of distributions with copyleft mean here."""


def needed_by() -> dict[str, set[str]]:
    """The distributions that podium needs on this machine, and which ones need them directly."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, set[str]] = {}
    waiting = [("podium", Requirement(text)) for text in project["dependencies"]]
    seen = set()
    while waiting:
        parent, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found.setdefault(name, set()).add(parent)
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                texts = map(Requirement, metadata.requires(name) or [])
                waiting += [(name, text) for text in texts if not text.marker or text.marker.evaluate({"extra": extra})]
    return found


def licence(name: str) -> str:
    """As the distribution declares it: an expression, its classifiers, a short text, or the start of its file."""
    fields = metadata.metadata(name)
    if fields["License-Expression"]:
        return fields["License-Expression"]
    classifiers = [text.split(" :: ")[-1] for text in fields.get_all("Classifier", []) if text.startswith("License ::")]
    if classifiers and classifiers != ["OSI Approved"]:
        return " or ".join(classifiers)
    if fields["License"] and len(fields["License"]) <= LONGEST:
        return fields["License"].strip()
    files = [file for file in metadata.files(name) or [] if "LICEN" in file.name.upper()]
    text = files[0].read_text(encoding="utf-8") if files else ""
    named = re.search(r"Apache License|MIT License|BSD \d-Clause License", text)
    return named[0] if named else "not declared"


def page(names: dict[str, set[str]]) -> str:
    rows = [(name, metadata.version(name), licence(name), ", ".join(sorted(names[name]))) for name in sorted(names)]
    table = "\n".join(
        _row(cells) for cells in [("distribution", "version", "licence", "needed by"), ("---",) * 4, *rows]
    )
    shared = [(name, terms) for name, _, terms, _ in rows if COPYLEFT.search(terms)]
    lines = [f"- {name}: {terms}; {REMARKS.get(name, 'not looked at yet')}" for name, terms in shared]
    return TEXT.format(table=table, copyleft="\n".join(lines))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(needed_by()), encoding="utf-8")
