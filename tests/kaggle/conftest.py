"""The official client at the stand-in, as everybody would use it: podium's own client is not in between."""

import pytest


@pytest.fixture
def api(standin, monkeypatch):
    """A KaggleApi that is signed in."""
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
