"""Where the credentials of this machine are found, for messages."""

import json

import pytest

from podium.credentials import describe_credentials, local_secrets, local_username


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder; `home(name, content)` writes a file that only its owner may read."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kaggle").mkdir()

    def write(name, content):
        path = tmp_path / ".kaggle" / name
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return path

    return write


LOGIN = {"refresh_token": "a-refresh-token", "access_token": "an-access-token", "username": "ada", "scopes": []}


def test_nothing_is_found_in_an_empty_home_folder(home):
    assert (describe_credentials(), local_username(), local_secrets()) == (None, None, set())


def test_a_login_is_found(home):
    path = home("credentials.json", LOGIN)
    assert describe_credentials() == f"{path}, from kaggle auth login"
    assert local_username() == "ada"
    assert local_secrets() == {"a-refresh-token", "an-access-token"}


def test_a_login_without_a_token_is_reported_with_the_command_that_renews_it(home):
    path = home("credentials.json", LOGIN | {"refresh_token": ""})
    assert describe_credentials() == f"{path} has no username or refresh_token; run kaggle auth login --force"


def test_a_damaged_key_file_is_reported_with_the_fix(home):
    path = home("kaggle.json", {})
    path.write_text("{username: ada}")
    found = describe_credentials()
    assert found.startswith(f"cannot read {path}: Expecting property name")
    assert found.endswith("; create a new one on Kaggle's settings page")


def test_a_key_file_is_used_before_a_login(home):
    home("credentials.json", LOGIN)
    path = home("kaggle.json", {"username": "grace", "key": "a-made-up-key"})
    assert describe_credentials() == str(path)
    path.chmod(0o644)
    assert describe_credentials() == f"{path}, readable by other users: run chmod 600 on it"
