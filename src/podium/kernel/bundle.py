"""The contents of the script: the parts of podium that a kernel needs, the configs and small libraries.

The same inputs give the same bytes: the script depends on neither this machine, the time nor the order of files.
"""

import ast
import hashlib
import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path

from podium.config.backbone_settings import PresetSettings
from podium.config.backbones import BACKBONES
from podium.config.loading import Ensemble, Member, files_of, kind_in
from podium.config.yaml_file import read_yaml
from podium.detection.loading import Detector
from podium.errors import BundleError
from podium.evaluation.metrics import OWN_METRIC
from podium.kernel.job import Job, Model, digest_of_job, load_config
from podium.kernel.pretrained import describe_weights, downloaded, pretrained
from podium.kernel.script import ENTRY, PURE_PACKAGES, READABLE, Packing, literal, make_script
from podium.kernel.secrets import check_for_secrets
from podium.runs import git_commit

MAX_BYTES = 900_000
"""Kaggle accepts scripts of about a million bytes."""
_NAMED_COMPETITION = "set/competition.yaml"
"""Path among the packed configs of a competition file named with --set."""
LABELS = "pseudo/"
"""The folder among the packed files of labels by ensembles. Ids may look like keys."""
BLEND = "blend.json"
"""Path among the packed files of the description of a finished blend."""
_SOURCE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class PackedBoxes:
    """The files of a detector's dataset by their path in the script, or the reason why they are not packed."""

    files: dict[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Bundle:
    job: Job
    text: str
    """The script."""
    commit: str
    config_digest: str
    sizes: Mapping[str, int]
    """Bytes of each packed file."""
    boxes: PackedBoxes = field(default_factory=PackedBoxes)
    is_compressed: bool = False

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def make_bundle(
    configs: Sequence[Path],
    job: Job,
    folds: Mapping[str, str] | None = None,
    boxes: PackedBoxes | None = None,
    packing: Packing = READABLE,
    blend: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Bundle:
    """Create the script for a config, or for the pretrained weights of several.

    `job.config` is replaced by the config's path in the script. `folds` are fold tables that the user has changed, by
    file name, `blend` is the blend.json of an inference job, and `labels` are files of labels by ensembles. A dataset
    that is too large is not packed; the kernel builds it. A source that is too large is compressed.
    """
    files = {f"folds/{name}": text for name, text in (folds or {}).items()} | ({BLEND: blend} if blend else {})
    files |= labels or {}
    bundle = _make_bundle(configs, job, files, boxes or PackedBoxes(), packing)
    if len(bundle.text) > MAX_BYTES and bundle.boxes.files:
        reason = f"the script would have {len(bundle.text):,} bytes, more than {MAX_BYTES:,}"
        bundle = _make_bundle(configs, job, files, PackedBoxes(reason=reason), packing)
    if len(bundle.text) > MAX_BYTES and not packing.compress:
        bundle = _make_bundle(configs, job, files, bundle.boxes, replace(packing, compress=True))
    _check_size(bundle)
    return bundle


def _make_bundle(
    configs: Sequence[Path], job: Job, more_files: Mapping[str, str], boxes: PackedBoxes, packing: Packing
) -> Bundle:
    packed_paths = _config_places(configs)
    first, *others = (packed_paths[config.resolve()] for config in configs)
    job = job.model_copy(update={"config": first, "more_configs": tuple(others), "competition": ""})
    loaded = [load_config(config, job.overrides, job.seed) for config in configs]
    models = [model for config in loaded for model in job.models_of(config)]
    if job.trains:
        _check_weights(models)
        _check_extra(models)
    files = {f"configs/{name}": _read(path) for path, name in packed_paths.items()}
    if competition := _find_competition(job, packed_paths):
        job = job.model_copy(update={"competition": _NAMED_COMPETITION})
        files[f"configs/{_NAMED_COMPETITION}"] = _read(competition)
        files |= {f"configs/set/{other.name}": _read(other) for other in files_of(competition)[1:]}
    for model in models:
        if isinstance(model, Member) and (own := OWN_METRIC.fullmatch(model.competition.metric)):
            folder = Path(job.competition or _competition_in(packed_paths)).parent  # also of one given with --set
            files[f"configs/{(folder / own['file']).as_posix()}"] = model.competition.metric_code or ""
    files |= more_files
    user_files = [*(name for name in files if not name.startswith(LABELS)), "--set"]
    files |= boxes.files
    files |= _podium_source([ENTRY, job.workflow], [*_unused(models), *_unused_blends(job, loaded)])
    if _needs_efficientnet(models):
        for module in sorted(PURE_PACKAGES):
            files |= _package(module)
    check_for_secrets({**files, "--set": "\n".join(job.overrides)}, user_files)
    commit = git_commit()
    blended = loaded[0].settings if isinstance(loaded[0], Ensemble) else None
    packed = {name: text for name, text in more_files.items() if name != BLEND}
    digest = digest_of_job(job, models, blended, packed)
    about = {"title": _title_of(job), "podium": metadata.version("podium-kit"), "commit": commit}
    about |= {"config_digest": digest, **_data_of(job, models[0]), **_weights_of(job, models)}
    sizes = {name: len(literal(text)) for name, text in files.items()}
    return Bundle(job, make_script(job, files, about, packing), commit, digest, sizes, boxes, packing.compress)


def _config_places(configs: Sequence[Path]) -> dict[Path, str]:
    """Each config file and the files it names, with their paths in the script; relative paths stay valid."""
    paths = sorted({path.resolve() for config in configs for path in files_of(config)})
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    return {path: path.relative_to(shared).as_posix() for path in paths}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be packed: {error}") from None


def _find_competition(job: Job, configs: Iterable[Path]) -> Path | None:
    """The competition file named with --set, relative to the current folder or to a config."""
    name = job.named_competition
    folders = [] if name is None else [Path(), *(path.parent for path in configs)]
    return next((folder / name for folder in folders if name and (folder / name).is_file()), None)


def _competition_in(configs: Mapping[Path, str]) -> str:
    """The path in the script of the competition file that the members name."""
    return next(name for path, name in configs.items() if kind_in(read_yaml(path)) == "competition")


def _check_weights(models: Iterable[Model]) -> None:
    """Raise an error for local weights and presets, which are too large for a script."""
    for model in models:
        backbone = model.settings.backbone
        if isinstance(backbone, PresetSettings):
            if backbone.is_a_folder:
                raise BundleError(
                    f"{model.name}: the preset {backbone.preset} is a folder on this machine, which a kernel cannot"
                    " read; upload the folder that it is in with podium data push and set backbone.preset:"
                    " kaggle-dataset:<owner>/<slug>/<folder>"
                )
        elif backbone.weights_are_a_path:
            raise BundleError(
                f"{model.name}: the weights {backbone.weights} are a file on this machine, which a kernel cannot read;"
                " upload it with podium data push and set backbone.weights: kaggle-dataset:<owner>/<slug>/<file>"
            )


def _check_extra(models: Iterable[Model]) -> None:
    """Raise an error for extra rows that are outside the data folder on this machine."""
    for model in models:
        for place in model.settings.places if isinstance(model, Member) else ():
            if Path(place).is_absolute() or ".." in Path(place).parts:
                raise BundleError(
                    f"{model.name}: {place} of its extra rows is outside the competition's data, so a kernel cannot"
                    " read it; upload its folder with podium data push and name it"
                    " kaggle-dataset:<owner>/<slug>/<path>"
                )


def _unused(models: Iterable[Model]) -> list[str]:
    """Modules that are imported only for keys that none of these members has, or never in a kernel."""
    models = list(models)
    members = [model.settings for model in models if isinstance(model, Member)]
    unused = ["podium.workflows.live_page", "podium.workflows.plots"]
    if len(members) == len(models) and not any(isinstance(member.backbone, PresetSettings) for member in members):
        unused.append("podium.models.preset_backbone")
    if not any(isinstance(model, Member) and model.competition.metric_code for model in models):
        unused.append("podium.evaluation.metric_file")
    unused += [] if any(member.tensorboard for member in members) else ["podium.training.tensorboard"]
    unused += [] if any(member.adds_rows for member in members) else ["podium.workflows.more_rows"]
    return unused if any(member.soup for member in members) else [*unused, "podium.workflows.soup"]


def _unused_blends(job: Job, configs: Iterable[Model | Ensemble]) -> list[str]:
    blends = [config.settings.blend.method for config in configs if isinstance(config, Ensemble)]
    return [] if job.blend or "stacking" in blends else ["podium.ensemble.stack_models"]


def _needs_efficientnet(models: Iterable[Model]) -> bool:
    backbones = [model.settings.backbone for model in models]
    return any(
        BACKBONES[backbone.name].package.startswith("efficientnet")
        for backbone in backbones
        if not isinstance(backbone, PresetSettings)
    )


def _podium_source(modules: Iterable[str], unused: Sequence[str]) -> dict[str, str]:
    """The source of these modules and of all they import, directly or not, by path; without the unused ones."""
    backbones = {row.package for row in BACKBONES.values() if row.package.startswith("podium.")}
    waiting, files, seen = ["podium", *modules, *sorted(backbones)], dict[str, str](), set(unused)
    while waiting:
        name = waiting.pop()
        path = None if name in seen else _module_path(name)
        seen.add(name)
        if path is None:
            continue
        text = path.read_text(encoding="utf-8")
        files[path.relative_to(_SOURCE).as_posix()] = text
        waiting += _imported(text)
    return files | _package_metadata("podium_kit", "podium-kit")


def _module_path(name: str) -> Path | None:
    path = _SOURCE / name.replace(".", "/")
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@cache  # a fleet packs the same source for each kernel
def _imported(text: str) -> list[str]:
    """The modules of podium that this source imports, also in functions, with their parent packages."""
    names: list[str] = []
    nodes: list[ast.AST] = [ast.parse(text)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue  # never runs
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    podium_modules = [name.split(".") for name in names if name.partition(".")[0] == "podium"]
    return list(dict.fromkeys(".".join(parts[:end]) for parts in podium_modules for end in range(1, len(parts) + 1)))


def _package(module: str) -> dict[str, str]:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise BundleError(f"the package {module} must be packed and is not installed: run make install")
    folder = Path(spec.origin).parent
    files = {
        path.relative_to(folder.parent).as_posix(): path.read_text(encoding="utf-8").replace("\r\n", "\n")
        for path in sorted(folder.rglob("*.py"))
    }
    if module == "keras_applications":
        files = _without_architectures(files)
    return files | _package_metadata(module, PURE_PACKAGES[module])


def _without_architectures(files: Mapping[str, str]) -> dict[str, str]:
    """What efficientnet imports of keras_applications; its architectures would add 200,000 bytes."""
    init, helpers = "keras_applications/__init__.py", "keras_applications/imagenet_utils.py"
    return {init: files[init].partition("\nfrom . import vgg16")[0] + "\n", helpers: files[helpers]}


def _package_metadata(module: str, distribution: str) -> dict[str, str]:
    """What `importlib.metadata.version` reads."""
    version = metadata.version(distribution)
    content = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    return {f"{module}-{version}.dist-info/METADATA": content}


def _check_size(bundle: Bundle) -> None:
    size = len(bundle.text)
    if size > MAX_BYTES:
        largest = sorted(bundle.sizes.items(), key=lambda item: -item[1])[:5]
        raise BundleError(
            f"the script has {size:,} bytes, more than the limit of {MAX_BYTES:,}; its largest files:"
            f" {', '.join(f'{name} {size:,}' for name, size in largest)}"
        )


def _data_of(job: Job, model: Model) -> dict[str, str]:
    """The data in an attached source, if not obvious from its name; a rehearsal mounts local data for it."""
    settings = model.settings if isinstance(model, Detector) else model.competition
    if job.kind == "weights" or not (settings.data_at_kaggle or isinstance(model, Detector)):
        return {}
    return {"data_of": settings.slug, "data_at": settings.data_at_kaggle or ""}


def _weights_of(job: Job, models: Sequence[Model]) -> dict[str, str]:
    """The pretrained weights that the kernel needs, and those of them that it has to download."""
    if not job.trains:
        return {}
    lists = {"pretrained": pretrained(models), "downloads": downloaded(models)}
    return {key: ", ".join(map(describe_weights, found)) for key, found in lists.items() if found}


def _title_of(job: Job) -> str:
    parts = ["pretrained weights of" if job.kind == "weights" else job.kind, Path(job.config).stem]
    if job.members:
        parts.append(f"({', '.join(job.members)})")
    if job.folds:
        parts.append("fold " + ", ".join(map(str, job.folds)))
    if job.part > 1:
        parts.append(f"part {job.part}")
    return ascii(" ".join(parts))[1:-1]
