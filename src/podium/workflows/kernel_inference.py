"""The job of a kernel that only predicts: a finished blend, applied to the mounted test set.

In a scoring run Kaggle mounts another test set than the one that everybody can download. Nothing of it is known before,
so images that cannot be read are skipped, and problems of the CSV are printed and do not fail the kernel.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import Console

from podium.config.kaggle_names import source_of
from podium.config.loading import Ensemble
from podium.data.unlabelled import read_test_set
from podium.errors import DataError
from podium.files import read_json, write_json
from podium.kernel.bundle import BLEND
from podium.kernel.job import Job, load_config
from podium.kernel.report import CODE_SUBMISSION, SAMPLE
from podium.options import RunOptions
from podium.paths import data_folder, kaggle_places, sample_file
from podium.predictions import write_predictions
from podium.submission.check import find_problems
from podium.submission.spec import SubmissionSpec
from podium.workflows.blend import Blend
from podium.workflows.finished import FinishedBlend
from podium.workflows.predict_images import model_of_blend


def run(job: Job, configs: Path, options: RunOptions, console: Console) -> dict[str, Any]:
    """Predict the test set, and write submission.csv. Return the report."""
    loaded = load_config(configs / job.config, job.overrides_in(configs), job.seed)
    assert isinstance(loaded, Ensemble)
    folder = data_folder(loaded.competition.slug, options.data, loaded.competition.kaggle_source)
    facts = read_json(configs.parent / BLEND)
    model = model_of_blend(FinishedBlend(Path(job.blend), facts, mounted_predictions(facts["predictions"], job)))
    as_trained = {name: getattr(model.competition, name) for name in ("classes", "intensity", "pages", "channels")}
    competition = loaded.competition.model_copy(update={**as_trained, "on_bad_image": "skip"})
    sample = sample_file(folder, competition.submission.sample)
    SubmissionSpec.of(competition, sample).read_sample()
    images = read_test_set(competition, folder, console)
    console.print(f"{competition.title or competition.slug}: {len(images.ids):,} test images")
    if missing := int(images.paths.missing.sum()):
        console.print(f"{missing:,} of them cannot be read and are predicted like an average image")
    path = options.runs / job.blend
    write_predictions(path / "test.csv", model.predict(images, console))
    write_json(path / "blend.json", {key: value for key, value in facts.items() if key != "submission"})
    submission = Blend(path, [], competition, sample, is_partial=False).write_submission()
    shutil.copyfile(submission, CODE_SUBMISSION)
    shutil.copyfile(sample, SAMPLE)
    for problem in find_problems(submission, SubmissionSpec.of(competition, sample)):
        console.print(f"{submission}: {problem}")
    console.print(f"{CODE_SUBMISSION}: {len(images.ids):,} rows")
    return {"status": "done", "submission": submission.as_posix()}


def mounted_predictions(names: Sequence[str], job: Job) -> list[Path]:
    """The folders of the blended predictions in the attached sources: in a dataset or in the output of a kernel."""
    sources = [source for place in job.trained_at if (source := source_of(place))]
    places = [place for source in sources for place in kaggle_places(*source)]
    found = []
    for name in names:
        relative = "/".join(PurePosixPath(name).parts[-3:])
        hits = (hit for place in places for above in ("", "*/", "*/*/") for hit in place.glob(f"{above}{relative}"))
        hit = next(hits, None)
        if hit is None:
            raise DataError(
                f"{relative} of the blend {job.blend} is in no attached source: looked in"
                f" {', '.join(map(str, places))}; attach the dataset that podium data push makes of the blend, or the"
                " kernels that trained its runs"
            )
        found.append(hit)
    return found
