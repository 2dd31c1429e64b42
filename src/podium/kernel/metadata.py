"""kernel-metadata.json: generated for the script, with every field explicit and the user's changes kept.

The metadata as last generated is stored next to the script. A field that differs from it was changed by the user and
keeps that value; in lists of sources, what was added stays and what was removed stays out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.config.kaggle_names import MODEL_NAME, KernelRef, slug_of, source_of
from podium.config.loading import Member
from podium.errors import BundleError
from podium.files import parse_json
from podium.kernel.accelerators import machine_shape, refusal
from podium.kernel.job import Job, Model, data_source
from podium.kernel.pretrained import source_of_weights

METADATA = Path("kernel-metadata.json")
NO_OWNER = "your-kaggle-name"
"""The owner until Kaggle or the user names one."""
_OWNED = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)?")
_SOURCES = {
    "dataset_sources": ("owner/slug", _OWNED),
    "competition_sources": ("a slug", re.compile(r"[\w.-]+")),
    "kernel_sources": ("owner/slug", _OWNED),
    "model_sources": ("owner/model/framework/variation/version with a number as its version", MODEL_NAME),
}
"""For each list of sources the expected form of a name."""


@dataclass(frozen=True)
class Machine:
    gpu: str = "t4"
    """A short name or Kaggle's name of a machine, or none."""
    internet: bool = False

    @property
    def shape(self) -> str:
        """Kaggle's name of the machine; empty without accelerator."""
        return machine_shape(self.gpu)


def kernel_metadata(job: Job, models: Sequence[Model], owner: str, machine: Machine, code_file: str) -> dict[str, Any]:
    """The metadata before any change by the user."""
    attached: list[tuple[str, str] | None] = []
    if job.kind != "weights":
        attached += [data_source(model) for model in models]
        attached += [source_of(place) for place in job.trained_at]
        if job.trains and not job.dry_run:
            attached += [source_of_weights(model) for model in models]
        members = [model for model in models if isinstance(model, Member)] if job.trains else []
        for member in members:
            attached += [source_of(place) for place in (*member.settings.places, *member.settings.labels)]

    def names_of(kind: str) -> list[str]:
        return _unique(source[1] for source in attached if source and source[0] == kind)

    return {
        "id": f"{owner}/{job.title}",
        "title": job.title,
        "code_file": code_file,
        "language": "python",
        "kernel_type": "notebook" if code_file.endswith(".ipynb") else "script",
        "is_private": True,
        "enable_gpu": bool(machine.shape),
        "enable_tpu": False,
        "enable_internet": machine.internet,
        "machine_shape": machine.shape,
        "keywords": [],
        "dataset_sources": names_of("dataset"),
        "competition_sources": names_of("competition"),
        "kernel_sources": _unique([*names_of("kernel"), *([job.resume_from] if job.resume_from else [])]),
        "model_sources": names_of("model"),
    }


def _unique(names: Iterable[str]) -> list[str]:
    return list({str(name): name for name in names}.values())  # a user may write anything


def merge_metadata(path: Path, generated: Mapping[str, Any], generated_before: Path) -> dict[str, Any]:
    """The generated metadata with the user's changes in the file at `path`; nothing is written."""
    current = read_metadata(path) if path.is_file() else {}
    before = read_metadata(generated_before) if generated_before.is_file() else {}
    if not before or _is_of_another_kernel(current, before):
        # Its name and sources belong to another config; all other fields may be the user's.
        before = dict(generated)
        if generated["title"] != current.get("title"):
            before |= {key: current[key] for key in ("id", "title", "code_file", *_SOURCES) if key in current}
    merged = _merge(generated, current, before)
    check_metadata(merged, path)
    return merged


def _is_of_another_kernel(current: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether version control restored the file, as opposed to a user who renamed the kernel."""
    if current.get("title") == before.get("title"):
        return False
    has_no_owner = str(current.get("id", "")).startswith(f"{NO_OWNER}/")
    return has_no_owner or any(current.get(key) != before.get(key) for key in _SOURCES)


def _merge(generated: Mapping[str, Any], current: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(generated)
    is_same_kernel = generated.get("title") == before.get("title")
    for key, value in current.items():
        if key in ("id", "title") and not is_same_kernel:
            continue
        if key in _SOURCES and isinstance(value, list):
            merged[key] = _merge_list(generated.get(key, []), value, before.get(key, []))
        elif value != before.get(key):
            merged[key] = value
    owner = str(current.get("id", "")).partition("/")[0]
    name_owner, _, slug = str(merged["id"]).partition("/")
    if owner not in ("", NO_OWNER) and name_owner == NO_OWNER:
        merged["id"] = f"{owner}/{slug}"
    return merged


def _merge_list(generated: Sequence[str], current: Sequence[str], before: Sequence[str]) -> list[str]:
    added = [name for name in current if name not in before]
    removed = [name for name in before if name not in current]
    return _unique([*(name for name in generated if name not in removed), *added])


def read_metadata(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot read {path} as JSON ({error}); fix it, or delete it to create a new one") from None
    if not isinstance(content, dict):
        raise BundleError(f"{path} is not a JSON object; fix it, or delete it to create a new one")
    return content


def check_metadata(content: Mapping[str, Any], path: Path) -> None:
    """Raise a BundleError with all problems, including those that the official client ignores."""
    problems = []
    name, title = str(content.get("id", "")), str(content.get("title", ""))
    if slug_of(title) != name.partition("/")[2]:
        problems.append(
            f"id {name!r} does not end with the title's slug {slug_of(title)!r}: Kaggle would create another kernel"
        )
    if not 5 <= len(title) <= 50:
        problems.append(f"title {title!r} must have 5 to 50 characters")
    for key in ("is_private", "enable_gpu", "enable_tpu", "enable_internet"):
        if not isinstance(content.get(key), bool):
            problems.append(f"{key} must be true or false; Kaggle's default may differ")
    shape = content.get("machine_shape") or ("TpuV5E8" if content.get("enable_tpu") is True else "")
    if reason := refusal(str(shape)):
        problems.append(reason)
    for key, (form, pattern) in _SOURCES.items():
        names = content.get(key)
        if isinstance(names, list):
            problems += [f"{key}: {name!r} is not {form}" for name in names if not pattern.fullmatch(str(name))]
        else:
            problems.append(f"{key} must be a list")
    if problems:
        raise BundleError(f"{path}: " + "; ".join(problems))


def ref_of(content: Mapping[str, Any]) -> KernelRef:
    return KernelRef.parse(str(content["id"]))
