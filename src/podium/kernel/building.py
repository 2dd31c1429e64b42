"""Build the script and its metadata for a job."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from podium.config.kaggle_names import KernelRef, is_at_kaggle
from podium.config.loading import Ensemble, Member, fold_count
from podium.credentials import local_username
from podium.detection.config import FolderSource
from podium.detection.loading import Detector
from podium.errors import BundleError, ConfigError
from podium.files import write_json, write_text
from podium.kernel.bundle import LABELS, Bundle, PackedBoxes, make_bundle
from podium.kernel.job import Job, Model, kind_of, load_config
from podium.kernel.metadata import METADATA, NO_OWNER, Machine, kernel_metadata, merge_metadata, ref_of
from podium.kernel.output_size import check_output_size
from podium.kernel.pretrained import download_problem, pretrained_files
from podium.kernel.script import READABLE, Packing
from podium.paths import boxes_folder, labels_folder
from podium.runs import edited_folds

SCRIPT = READABLE.path
MOST_LABELS = 300_000
"""Bytes of labels by ensembles that are packed."""
_GENERATED_METADATA = Path("build/kernel-metadata.json")
"""The metadata as last generated, without the user's changes."""


@dataclass(frozen=True)
class BuiltKernel:
    bundle: Bundle
    metadata: dict[str, Any]
    weights: tuple[str, ...] = ()
    """The output files of a weights kernel."""
    missing: str = ""
    """Why the kernel cannot run without internet: pretrained weights that it would have to download."""

    @property
    def ref(self) -> KernelRef:
        return ref_of(self.metadata)

    @property
    def problem(self) -> str:
        """Why the kernel would fail; empty if nothing is known."""
        return "" if self.metadata["enable_internet"] else self.missing


def make_job(config: Path, **options: Any) -> Job:
    """The job of a config; `options` are fields of `Job`."""
    kind = kind_of(config)
    if kind == "detector" and (options.get("folds") or options.get("limit_test")):
        raise ConfigError(f"{config}: a detector has neither folds nor test rows: --fold and --limit-test do not apply")
    return Job(kind=kind, **options)


@dataclass(frozen=True)
class KernelBuilder:
    """Builds the kernels of a config, or the weights kernel of several."""

    configs: Sequence[Path]
    machine: Machine
    runs: Path
    owner: str | None = None
    packing: Packing = READABLE

    def assemble(self, job: Job) -> BuiltKernel:
        """Create the script and its metadata without writing them."""
        job = job.model_copy(update={"accelerator": self.machine.shape})
        loaded = [load_config(config, job.overrides, job.seed) for config in self.configs]
        models = [model for config in loaded for model in job.models_of(config)]
        for model in models:
            if isinstance(model, Member):
                check_folds(model, job.folds)
                if model.settings.soup and job.trains:
                    raise ConfigError(
                        f"{model.name} is a soup, made of runs on this machine, so Kaggle cannot train it: leave it"
                        " out, or submit a finished blend with podium kernel push --inference"
                    )
        check_output_size(job, models)
        bundle = self._bundle(job, models)
        owner = self.owner or local_username() or NO_OWNER
        metadata = kernel_metadata(bundle.job, models, owner, self.machine, self.packing.path.as_posix())
        weights = tuple(pretrained_files(models)) if job.kind == "weights" else ()
        return BuiltKernel(bundle, metadata, weights, download_problem(models, self.configs, job, owner))

    def _bundle(self, job: Job, models: Sequence[Model]) -> Bundle:
        model = models[0]
        if job.kind == "weights":
            return make_bundle(self.configs, job, packing=self.packing)
        if job.kind == "inference":
            blend = (self.runs / job.blend / "blend.json").read_text(encoding="utf-8")
            return make_bundle(self.configs, job, packing=self.packing, blend=blend)
        if isinstance(model, Detector):
            check_data(model)
            return make_bundle(self.configs, job, boxes=pack_boxes(model, self.runs), packing=self.packing)
        folds, labels = folds_and_labels(models, self.runs)
        return make_bundle(self.configs, job, folds, packing=self.packing, labels=labels)

    def build(self, job: Job) -> BuiltKernel:
        """Write the script and update kernel-metadata.json."""
        built = self.assemble(job)
        generated = built.metadata
        metadata = merge_metadata(METADATA, generated, _GENERATED_METADATA)
        chosen = metadata["machine_shape"] if metadata["enable_gpu"] else ""
        if chosen != self.machine.shape:  # by the user, in the file; the script checks for it
            built = replace(self, machine=replace(self.machine, gpu=chosen or "none")).assemble(job)
        write_text(self.packing.path, built.bundle.text)
        write_json(METADATA, metadata)
        write_json(_GENERATED_METADATA, generated)
        return replace(built, metadata=metadata)


def jobs_of_folds(config: Path, job: Job) -> list[Job]:
    """A job for every fold and, for an ensemble, every member; a detector has one."""
    loaded = load_config(config, job.overrides, job.seed)
    if isinstance(loaded, Detector):
        return [job.model_copy(update={"config": config.name})]
    jobs = []
    for member in job.members_of(loaded):
        for fold in job.folds or folds_of(member):
            part = {"members": (member.name,)} if isinstance(loaded, Ensemble) else {"config": config.name}
            jobs.append(job.model_copy(update={**part, "folds": (fold,)}))
    return jobs


def check_folds(member: Member, folds: Sequence[int]) -> None:
    """Raise an error for folds that do not exist before a kernel is started for them."""
    count = fold_count(member.competition)
    missing = [fold for fold in folds if count is not None and fold >= count]
    if missing:
        available = "only fold 0" if count == 1 else f"folds 0 to {count - 1}" if count else "no folds"
        raise ConfigError(f"{member.name}: there is no fold {missing[0]}; the competition file defines {available}")


def folds_of(member: Member) -> list[int]:
    if member.settings.folds is not None:
        return member.settings.folds
    count = fold_count(member.competition)
    if count is None:
        raise ConfigError(
            f"{member.name}: the folds are in a table of the competition's data, which is read only in training; name"
            " them with --fold, or with folds: [0, 1, …] in the config"
        )
    return list(range(count))


def check_data(detector: Detector) -> None:
    """Raise an error if the kernel could not find the images."""
    settings = detector.settings
    if settings.kaggle_source is None:
        raise BundleError(
            f"{detector.name}: the config does not say where its images are on Kaggle; upload the data folder with"
            " podium data push and set data_at_kaggle: kaggle-dataset:<owner>/<slug> (or with --set)"
        )
    source = settings.source
    if isinstance(source, FolderSource) and PurePath(source.folder).is_absolute():
        raise BundleError(
            f"{detector.name}: source.folder {source.folder} is an absolute path on this machine; make it relative to"
            " the data folder"
        )


def pack_boxes(detector: Detector, runs: Path) -> PackedBoxes:
    """The dataset that was built locally for this detector, so that the kernel has the same boxes and splits."""
    from podium.detection.dataset import BOXES, IMAGES, INDEX, read_dataset

    slug = detector.settings.slug
    folder = boxes_folder(runs, slug)
    if not (folder / INDEX).is_file():
        return PackedBoxes(reason=f"none was built in {folder}")
    if rotated := int(read_dataset(folder).images["rotated"].sum()):
        return PackedBoxes(reason=f"{rotated:,} of its images were rotated, and images are not packed")
    names = (INDEX, IMAGES, BOXES)
    return PackedBoxes({f"boxes/{slug}/{name}": (folder / name).read_text(encoding="utf-8") for name in names})


def folds_and_labels(models: Sequence[Model], runs: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What is packed beside the configs: edited tables of folds, and labels by ensembles."""
    members = [model for model in models if isinstance(model, Member)]
    return (edited_folds(runs, members[0].competition.slug), pack_labels(members, runs)) if members else ({}, {})


def pack_labels(members: Sequence[Member], runs: Path) -> dict[str, str]:
    """The labels by ensembles that these members are trained on, unless a dataset has them, by their path in `runs`."""
    names = {name: member for member in members for name in member.settings.labels if not is_at_kaggle(name)}
    packed: dict[str, str] = {}
    for name, member in names.items():
        folder, what = labels_folder(runs, name), f"{member.name}: the labels of the ensemble {name}"
        dataset = "upload their folder with podium data push, and write kaggle-dataset:<owner>/<slug> instead"
        if "/" in name:
            raise BundleError(f"{what} are a folder on this machine, which a kernel cannot read: {dataset}")
        files = {f"{LABELS}{name}/{path.name}": path.read_text(encoding="utf-8") for path in folder.glob("*.csv")}
        if not files:
            raise BundleError(f"{what} are not in {folder}: make them with podium pseudo first")
        if (size := sum(map(len, files.values()))) > MOST_LABELS:
            raise BundleError(f"{what} in {folder} have {size:,} bytes, too many for a script: {dataset}")
        packed |= files
    return packed
