"""kernel-metadata.json: every field explicit, in step with the script, and with a person's changes kept.

What podium wrote last lies beside the script. A field that is no longer as podium wrote it was changed by a person, and
stays as that person wants it; of a list, what was added stays added and what was removed stays removed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from podium.config.kaggle_names import KernelRef, slug_of
from podium.errors import BundleError
from podium.kernel.job import Job, Model, data_source

METADATA = Path("kernel-metadata.json")
NOBODY = "your-kaggle-name"
"""The owner until Kaggle's own answer, or a person, says who it is."""
Gpu = Literal["t4", "none"]
_SHAPES = {"t4": "NvidiaTeslaT4", "none": ""}
_SOURCES = ("dataset_sources", "competition_sources", "kernel_sources", "model_sources")


@dataclass(frozen=True)
class Machine:
    """What a kernel runs on."""

    gpu: Gpu = "t4"
    internet: bool = False


def metadata_for(job: Job, models: Sequence[Model], owner: str, machine: Machine, code_file: str) -> dict[str, Any]:
    """What podium would write where no person had a say."""
    attached = [] if job.kind == "weights" else [source for model in models if (source := data_source(model))]
    if job.kind != "weights" and not job.dry_run:
        attached += [source for model in models if (source := model.settings.backbone.kaggle_source)]

    def of_kind(wanted: str) -> list[str]:
        return [name for kind, name in attached if kind == wanted]

    return {
        "id": f"{owner}/{job.title}",
        "title": job.title,
        "code_file": code_file,
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": machine.gpu != "none",
        "enable_tpu": False,
        "enable_internet": machine.internet,
        "machine_shape": _SHAPES[machine.gpu],
        "keywords": [],
        "dataset_sources": _each_once(of_kind("dataset")),
        "competition_sources": _each_once(of_kind("competition")),
        "kernel_sources": _each_once([*of_kind("kernel"), *([job.goes_on_from] if job.goes_on_from else [])]),
        "model_sources": [],
    }


def _each_once(names: Any) -> list[str]:
    return list(dict.fromkeys(names))


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """`ours` as podium would write it now, with what a person changed in `theirs` since podium wrote `before`.

    The name is kept only while it is the same kernel; for another one only its owner is.
    """
    result = dict(ours)
    for key, value in theirs.items():
        if key in ("id", "title") and ours.get("title") != before.get("title"):
            continue
        if key in _SOURCES and isinstance(value, list):
            result[key] = _merged_list(ours.get(key, []), value, before.get(key, []))
        elif value != before.get(key):
            result[key] = value
    owner = str(theirs.get("id", "")).partition("/")[0]
    if owner not in ("", NOBODY) and str(result["id"]).partition("/")[0] == NOBODY:
        result["id"] = f"{owner}/{str(result['id']).partition('/')[2]}"
    return result


def _merged_list(ours: Sequence[str], theirs: Sequence[str], before: Sequence[str]) -> list[str]:
    added = [one for one in theirs if one not in before]
    removed = [one for one in before if one not in theirs]
    return _each_once([*(one for one in ours if one not in removed), *added])


def in_step(path: Path, ours: Mapping[str, Any], last: Path) -> dict[str, Any]:
    """The metadata as it should be, from what it is and what podium alone wrote last. Nothing is written yet."""
    theirs = read_metadata(path) if path.is_file() else {}
    before = read_metadata(last) if last.is_file() else {}
    if not before or _is_from_elsewhere(theirs, before):
        before = _never_built(ours, theirs)
    content = merged(ours, theirs, before)
    check_metadata(content, path)
    return content


def _is_from_elsewhere(theirs: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Of another kernel, as version control brings it back, and not renamed by a person since podium wrote it."""
    if theirs.get("title") == before.get("title"):
        return False
    has_no_owner = str(theirs.get("id", "")).startswith(f"{NOBODY}/")
    return has_no_owner or any(theirs.get(key) != before.get(key) for key in _SOURCES)


def _never_built(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Of a file that podium has not written: its name and its sources are another config's, the rest a person's."""
    named = {key: theirs[key] for key in ("id", "title", "code_file", *_SOURCES) if key in theirs}
    return {**ours, **named} if ours.get("title") != theirs.get("title") else dict(ours)


def read_metadata(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{path} cannot be read as JSON ({error}); mend it, or remove it to have it made anew"
        ) from None
    if not isinstance(content, dict):
        raise BundleError(f"{path} holds no keys; mend it, or remove it to have it made anew")
    return content


def check_metadata(content: Mapping[str, Any], path: Path) -> None:
    """What the client would let pass with a warning, or without one."""
    problems = []
    ref = str(content.get("id", ""))
    title = str(content.get("title", ""))
    if slug_of(title) != ref.partition("/")[2]:
        problems.append(
            f"id {ref!r} does not end with the title's slug {slug_of(title)!r}: Kaggle would make another kernel"
        )
    if not 5 <= len(title) <= 50:
        problems.append(f"title {title!r} must have 5 to 50 letters")
    for key in ("is_private", "enable_gpu", "enable_tpu", "enable_internet"):
        if not isinstance(content.get(key), bool):
            problems.append(f"{key} must be true or false, and said: Kaggle's own default may be the other")
    for key in _SOURCES:
        listed = content.get(key)
        if not isinstance(listed, list):
            problems.append(f"{key} must be a list")
            continue
        problems += [f"{key}: {one!r} is not {_form(key)}" for one in listed if not _is_well_formed(key, one)]
    if problems:
        raise BundleError(f"{path}: " + "; ".join(problems))


def _form(key: str) -> str:
    return {
        "competition_sources": "a slug",
        "model_sources": "owner/model/framework/variation/version",
    }.get(key, "owner/slug")


def _is_well_formed(key: str, name: Any) -> bool:
    if not isinstance(name, str):
        return False
    parts = name.split("/")
    counts = {"competition_sources": (1,), "model_sources": (4, 5), "dataset_sources": (2, 3)}.get(key, (2, 3))
    return len(parts) in counts and all(
        part and part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in parts
    )


def ref_of(content: Mapping[str, Any]) -> KernelRef:
    return KernelRef.parse(str(content["id"]))
