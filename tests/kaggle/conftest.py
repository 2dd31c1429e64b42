"""podium's client and the official client, both signed in to the stand-in."""

from pathlib import Path

import pytest
from kaggle_calls import DATASET
from standin.datasets import Dataset, DatasetVersion

from podium import retries
from podium.config.kaggle_names import KernelRef

REF = KernelRef("ada", "some-kernel", 1)


@pytest.fixture
def api(standin, monkeypatch):
    """The official client's KaggleApi, without podium's code in between."""
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, standin.endpoint)
    from kaggle.api.kaggle_api_extended import KaggleApi

    api = KaggleApi()
    api.authenticate()
    return api


@pytest.fixture
def client(api):
    """kagglesdk's typed client."""
    with api.build_kaggle_client() as client:
        yield client


@pytest.fixture
def no_waiting(monkeypatch):
    """Retries and polls follow at once."""
    from podium.kaggle import client

    monkeypatch.setattr(retries, "sleep", lambda seconds: None)
    monkeypatch.setattr(client, "pause", lambda seconds: None)


@pytest.fixture
def kaggle(standin, monkeypatch, tmp_path, no_waiting):
    """podium's client, in an empty folder with `answer.csv`; the stand-in has a kernel with output, the competitions
    `cars` and `boats`, the latter with a submission, and the code competition `code`."""
    from podium.kaggle.client import sign_in

    monkeypatch.chdir(tmp_path)
    standin.add_kernel(REF.name, {"a.txt": b"a", "b.bin": b"0123456789" * 20_000})
    standin.version(REF).tell("a line\n")
    for slug in ("cars", "code"):
        files = {"train.csv": b"Id\na\n" * 500}
        standin.add_competition(slug, files, lambda rows: 0.5, code_only=slug == "code", others={"grace": 0.9})
    standin.add_competition("boats", {}, lambda rows: 0.5)
    standin.add_submission("boats", b"Id,Category\n", "an earlier one")
    dataset = Dataset(DATASET, "Some dataset", 1, versions=[DatasetVersion(1, "", {})])
    standin.dataset_methods.pushed[DATASET], standin.dataset_methods.pending = dataset, 0
    Path("answer.csv").write_text("Id,Category\na,0\n")
    return sign_in()


@pytest.fixture
def one_line():
    """`one_line(error)` is the text of a raised error, which must be one line."""

    def text_of(error):
        text = str(error.value)
        assert len(text.splitlines()) == 1
        return text

    return text_of
