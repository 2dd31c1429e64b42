"""The bundle: one readable ASCII script with all that a kernel needs of podium, its configs and small libraries.

The same inputs give the same bytes: nothing of this machine, of the clock or of an order that varies goes in.
"""

import ast
import hashlib
import importlib.util
import json
import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from podium.config.backbones import BACKBONES
from podium.config.loading import Ensemble, files_of
from podium.detection.config import PresetSettings
from podium.detection.loading import Detector
from podium.errors import BundleError
from podium.kernel.boxes import Travelling
from podium.kernel.job import COMPETITION, Job, Model, digest_of_job, load_config
from podium.kernel.secrets import check_for_secrets
from podium.runs import git_commit

LARGEST = 900_000
"""Bytes of a script. Kaggle takes about a million."""
PURE_PACKAGES = {"efficientnet": "efficientnet", "keras_applications": "keras-applications"}
"""Pure Python that Kaggle's image lacks, by module and by distribution; packed where a backbone needs them."""
_TYPED = "set/competition.yaml"
"""Where a competition file that --set names lies among the packed configs."""
_SOURCE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Bundle:
    """A script, ready to be written, and what a person and Kaggle want to know of it."""

    job: Job
    text: str
    commit: str
    config_digest: str
    parts: Mapping[str, int]
    """Bytes of each packed file."""
    boxes: Travelling = field(default_factory=Travelling)
    """A detector's set: its files, or why it does not travel."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def make_bundle(
    configs: Sequence[Path], job: Job, folds: Mapping[str, str] | None = None, boxes: Travelling | None = None
) -> Bundle:
    """The script for these configs; several where their pretrained weights are fetched, else one.

    `job.config` is set here, to where the config lies among the packed ones. `folds` are tables of folds that a person
    has changed, by file name: the kernel would draw the usual ones. `boxes` is a detector's set; one that is too large
    is left to be built there.
    """
    bundle = _bundle(configs, job, folds or {}, boxes or Travelling())
    if len(bundle.text) > LARGEST and bundle.boxes.files:
        too_large = f"with it the script has {len(bundle.text):,} bytes, more than {LARGEST:,}"
        bundle = _bundle(configs, job, folds or {}, Travelling(why_not=too_large))
    _check_size(bundle.text, bundle.parts)
    return bundle


def _bundle(configs: Sequence[Path], job: Job, folds: Mapping[str, str], boxes: Travelling) -> Bundle:
    packed = _packed_configs(configs)
    first, *others = (packed[config.resolve()][0] for config in configs)
    job = job.model_copy(update={"config": first, "also": tuple(others), "competition": ""})
    loaded = [load_config(config, job.overrides, job.seed) for config in configs]
    models = [model for one in loaded for model in job.models_of(one)]
    if job.kind != "weights":
        _check_weights(models)
    commit = git_commit()
    files = {f"configs/{name}": text for name, text in packed.values()}
    if typed := _typed_competition(job, packed):
        job = job.model_copy(update={"competition": _TYPED})
        files[f"configs/{_TYPED}"] = _text_of(typed)
    files |= {f"folds/{name}": text for name, text in folds.items()}
    digest = digest_of_job(job, models, loaded[0].settings if isinstance(loaded[0], Ensemble) else None)
    by_hand = [*files, "--set"]
    files |= boxes.files
    entry = _entry_of(job, boxes)
    files |= _podium_source(entry)
    for module in _needed_packages(models):
        files |= _package(module)
    check_for_secrets({**files, "--set": "\n".join(job.overrides)}, by_hand)
    about = {"title": _title_of(job), "podium": metadata.version("podium-kit"), "commit": commit}
    about |= {"config_digest": digest, **_data_of(job, models)}
    text = _script(job, files, about, entry)
    parts = {name: len(_literal(text)) for name, text in files.items()}
    return Bundle(job, text, commit, digest, parts, boxes)


def _entry_of(job: Job, boxes: Travelling) -> str:
    """The module whose imports say what is packed."""
    if job.kind != "detector":
        return "podium.kernel_main"
    return "podium.kernel_detector" if boxes.files else "podium.kernel_detector_build"


def _packed_configs(configs: Sequence[Path]) -> dict[Path, tuple[str, str]]:
    """By full path: the name within the bundle, and the text. Paths between them stay as they are."""
    paths = sorted({path.resolve() for config in configs for path in files_of(config)})
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    packed = {}
    for path in paths:
        packed[path] = (path.relative_to(shared).as_posix(), _text_of(path))
    return packed


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be packed: {error}") from None


def _typed_competition(job: Job, packed: Iterable[Path]) -> Path | None:
    """The competition file that --set names: seen from here, or from a member file."""
    named = [override.removeprefix(COMPETITION) for override in job.overrides if override.startswith(COMPETITION)]
    places = [place / named[-1] for place in (Path(), *(path.parent for path in packed))] if named else []
    return next((place for place in places if place.is_file()), None)


def _check_weights(models: Iterable[Model]) -> None:
    """Weights in a file of this machine, or a preset in a folder of it, cannot travel in a script."""
    for model in models:
        backbone = model.settings.backbone
        if isinstance(backbone, PresetSettings):
            if backbone.is_a_folder:
                raise BundleError(
                    f"{model.name}: the preset {backbone.preset} lies on this machine, and a kernel cannot see it; put"
                    " it into a Kaggle dataset and say backbone.preset: kaggle-dataset:<owner>/<slug>/<folder>"
                )
        elif backbone.weights_are_a_path:
            raise BundleError(
                f"{model.name}: the weights {backbone.weights} lie on this machine, and a kernel cannot see them; put"
                " them into a Kaggle dataset and say backbone.weights: kaggle-dataset:<owner>/<slug>/<file>"
            )


def _needed_packages(models: Iterable[Model]) -> list[str]:
    backbones = [model.settings.backbone for model in models]
    named = [one.name for one in backbones if not isinstance(one, PresetSettings)]
    needs = {BACKBONES[name].package.partition(".")[0] for name in named}
    return sorted(PURE_PACKAGES) if "efficientnet" in needs else []


def _podium_source(entry: str) -> dict[str, str]:
    """The modules that the kernel's entry imports, at any depth, and their packages; by path."""
    dynamic = sorted({row.package for row in BACKBONES.values() if row.package.startswith("podium.")})
    waiting, found = ["podium", entry, *dynamic], dict[str, str]()
    while waiting:
        path = _module_path(waiting.pop())
        if path is None or path.relative_to(_SOURCE).as_posix() in found:
            continue
        text = path.read_text(encoding="utf-8")
        found[path.relative_to(_SOURCE).as_posix()] = text
        waiting += _imported(text)
    version = metadata.version("podium-kit")
    found[f"podium_kit-{version}.dist-info/METADATA"] = f"Metadata-Version: 2.1\nName: podium-kit\nVersion: {version}\n"
    return found


def _module_path(name: str) -> Path | None:
    place = _SOURCE / name.replace(".", "/")
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def _imported(text: str) -> list[str]:
    """Every module of podium that the text names in an import, with the packages around it."""
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [name.split(".") for name in names if name.partition(".")[0] == "podium"]
    return [".".join(parts[:end]) for parts in ours for end in range(1, len(parts) + 1)]


def _package(module: str) -> dict[str, str]:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise BundleError(f"{module} is not installed here and must be packed: run make install")
    folder = Path(spec.origin).parent
    files = {
        path.relative_to(folder.parent).as_posix(): path.read_text(encoding="utf-8").replace("\r\n", "\n")
        for path in sorted(folder.rglob("*.py"))
    }
    name = PURE_PACKAGES[module]
    version = metadata.version(name)
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return {**files, f"{module}-{version}.dist-info/METADATA": about}


def _check_size(text: str, parts: Mapping[str, int]) -> None:
    if len(text) <= LARGEST:
        return
    largest = sorted(parts.items(), key=lambda part: -part[1])[:5]
    raise BundleError(
        f"the script has {len(text):,} bytes, {len(text) - LARGEST:,} more than the {LARGEST:,} that may be; its"
        f" largest parts: {', '.join(f'{name} {size:,}' for name, size in largest)}; leave some out of the config"
    )


def _literal(text: str) -> str:
    """Python's own notation for the text, readable, in ASCII."""
    if text.isascii() and "\r" not in text and not text.endswith(("\\", "'")):
        if "'''" not in text:
            return f"r'''{text}'''"
        if '"""' not in text and not text.endswith('"'):
            return f'r"""{text}"""'
    escaped = text.replace("\\", "\\\\").replace("\r", "\\r")
    if "'''" in text or text.endswith("'"):
        escaped = escaped.replace("'", "\\'")
    return f"'''{escaped.encode('ascii', 'backslashreplace').decode()}'''"


def _script(job: Job, files: Mapping[str, str], about: Mapping[str, str], entry: str) -> str:
    packed = "\n\n".join(f"FILES[{name!a}] = {_literal(files[name])}" for name in sorted(files))
    job_text = json.dumps(job.model_dump(mode="json"), indent=4)
    return _TEMPLATE.format(
        **{key: about[key] for key in ("title", "podium", "commit", "config_digest")},
        config=job.config,
        about=json.dumps(about, indent=4),
        job=f"json.loads({_literal(job_text)})",
        files=packed,
        entry=entry,
    )


def _data_of(job: Job, models: Sequence[Model]) -> dict[str, str]:
    """Whose data is a source that its name does not tell: a rehearsal mounts what lies here for it."""
    first = models[0]
    named = first.settings if isinstance(first, Detector) else first.competition
    if job.kind == "weights" or not (named.data_at_kaggle or isinstance(first, Detector)):
        return {}
    return {"data_of": named.slug, "data_at": named.data_at_kaggle or ""}


def about_of(script: Path) -> dict[str, str]:
    """What a built script says of itself; nothing where a person has made it unreadable."""
    found = re.search(r"^ABOUT = (\{\n.*?^\})$", script.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    try:
        about = json.loads(found[1]) if found else {}
    except ValueError:
        about = {}
    return about if isinstance(about, dict) else {}


def _title_of(job: Job) -> str:
    what = "pretrained weights of" if job.kind == "weights" else job.kind
    parts = [what, Path(job.config).stem, *([f"({', '.join(job.members)})"] if job.members else [])]
    if job.folds:
        parts.append("fold " + ", ".join(map(str, job.folds)))
    return ascii(" ".join(parts))[1:-1]


_TEMPLATE = textwrap.dedent('''\
    """podium on Kaggle: {title}.

    podium {podium}, commit {commit}, config {config} ({config_digest}).
    Written by `podium kernel build`, which writes the same bytes from the same inputs. Read it, run it, but change the
    configs and build it again rather than change this: what it packs is the source of podium itself, file by file.
    """

    import json
    import os
    import shutil
    import sys
    import tempfile
    from pathlib import Path

    ABOUT = {about}

    JOB = {job}

    FILES = {{}}

    {files}


    def run():
        """Put the files where they are no output of this kernel, and do the job. An exception fails the kernel."""
        scratch = Path(tempfile.mkdtemp(prefix="podium-"))
        try:
            for name, text in FILES.items():
                path = scratch / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            os.environ.update(
                PODIUM_COMMIT=ABOUT["commit"],
                XDG_CACHE_HOME=str(scratch / "cache"),
                KERAS_HOME=str(scratch / "keras"),
                MPLCONFIGDIR=str(scratch / "matplotlib"),
            )
            sys.path.insert(0, str(scratch))
            from {entry} import run_job

            run_job(JOB, ABOUT, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


    run()
''')
