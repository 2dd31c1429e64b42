"""`podium data check --fix`: the files that keep what was found out of training, next to the competition file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from podium.errors import DataError
from podium.files import read_records, write_table
from podium.workflows.data_check import TRAIN, Check

_NOT_TRAINED = {
    "unreadable": "unreadable",
    "truncated": "truncated",
    "blank": "blank",
    "labels": "a copy has another label",
}
"""The kinds whose training images are left out, and the reason in the file."""
_COPIES = "copies-"
"""What the groups that a check finds begin with."""


def write_fixes(check: Check, file: Path) -> Iterator[str]:
    """Write `<name>-ignore.csv` and `<name>-groups.csv` next to the competition file `<name>.yaml`.

    Yields what was written, and how to use it. Rows that the first already has are kept, and so are groups that are
    not of an earlier check.
    """
    ignore, grouped = (file.with_name(f"{file.stem}-{kind}.csv") for kind in ("ignore", "groups"))
    ignored = _column(ignore, "reason")
    for id_ in check.ignored:
        ignored.setdefault(id_, "")
    for kind, reason in _NOT_TRAINED.items():
        for item in check.findings.get(kind, []):
            if item.part == TRAIN:
                ignored.setdefault(item.id, reason)
    if ignored:
        write_table(ignore, ("id", "reason"), ({"id": id_, "reason": reason} for id_, reason in ignored.items()))
        yield f"{ignore}: {len(ignored):,} images to leave out of training; use it with ignore: {ignore.name}"
    if {"unreadable", "truncated"} & check.findings.keys():
        yield "images that cannot be read are an error unless the competition file has on_bad_image: skip"
    if check.groups:
        groups = _with_copies(_column(grouped, "group"), check.groups)
        write_table(grouped, ("id", "group"), ({"id": id_, "group": group} for id_, group in groups.items()))
        yield (
            f"{grouped}: {len(check.groups):,} images that have copies, to be kept in one fold; use it with folds:"
            f" {{kind: grouped, groups: {grouped.name}}}"
        )
    if not ignored and not check.groups:
        yield "nothing to fix"


def _with_copies(before: Mapping[str, str], copies: Mapping[str, int]) -> dict[str, str]:
    """The groups of a file, joined with those of copies; groups that share an image become one."""
    groups = {id_: group for id_, group in before.items() if not group.startswith(_COPIES)}
    members = dict[int, list[str]]()
    for id_, number in copies.items():
        members.setdefault(number, []).append(id_)
    for number, ids in members.items():
        first, *others = sorted({groups[id_] for id_ in ids if id_ in groups}) or [f"{_COPIES}{number}"]
        if others:
            groups |= {id_: first for id_, group in groups.items() if group in others}
        groups |= dict.fromkeys(ids, first)
    return groups


def _column(path: Path, name: str) -> dict[str, str]:
    """By id."""
    try:
        return {row["id"]: row.get(name) or "" for row in read_records(path)} if path.is_file() else {}
    except (ValueError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): expected the columns id and {name}; repair it, or move it away"
        ) from None
