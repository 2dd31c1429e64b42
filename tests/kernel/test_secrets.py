"""Keys in the files of a dataset, of any size, kind and encoding."""

import json

import pytest

from podium.errors import BundleError
from podium.kernel import secrets
from podium.kernel.secrets import check_file

KEY = "0123456789abcdef" * 2
TOKEN = "KGAT_" + KEY
OWN = "lovelace-1815"


def check(path):
    check_file(path, path.name, {OWN})


def refuse(path, line):
    with pytest.raises(BundleError, match=rf"{path.name}, line {line}: a key, token or password"):
        check(path)


def notebook(*lines):
    return json.dumps({"cells": [{"cell_type": "code", "source": [f"{line}\n" for line in lines]}]}, indent=1)


@pytest.mark.parametrize("name", ["notes", "a.log", "a.html", "a.xml", "a.tsv", "a.jsonl", "a.js", "a.r", "a.bin"])
@pytest.mark.parametrize("secret", [TOKEN, OWN, f'"key": "{KEY}"', f'os.environ["KAGGLE_KEY"] = "{KEY}"'])
def test_every_file_that_is_no_image_or_weights_is_searched(name, secret, tmp_path):
    path = tmp_path / name
    path.write_text(f"a\nb\n{secret}\n")
    refuse(path, 3)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_a_key_is_found_in_any_encoding(encoding, tmp_path):
    path = tmp_path / "log.txt"
    path.write_text(f"größe\n{TOKEN}\n", encoding=encoding)
    refuse(path, 2)


@pytest.mark.parametrize("between", ["\n", " "])
@pytest.mark.parametrize("at", [0, 5, 95, 100, 105, 190, 1000])
def test_a_key_is_found_anywhere_in_a_large_file(at, between, tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "_BLOCK", 100)
    monkeypatch.setattr(secrets, "_OVERLAP", 50)
    path = tmp_path / "large.csv"
    path.write_text(between * at + TOKEN + between + "a" * 1000)
    refuse(path, at + 1 if between == "\n" else 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "password: hunter22\n"),
        ("a.conf", "WANDB_API_KEY=0123456789abcdef\n"),
        ("a.py", "password = 'hunter22'\n"),
        ("a.ipynb", notebook('password="hunter22"')),
        ("a.ipynb", notebook(f'os.environ["KAGGLE_KEY"] = "{KEY}"')),
        ("a.ipynb", notebook(f'{{"username":"ada","key":"{KEY}"}}')),
    ],
)
def test_settings_and_code_are_searched_for_passwords(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    refuse(path, 1 if name != "a.ipynb" else 6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.png", TOKEN),
        ("a.weights.H5", TOKEN),
        ("a.py", 'password = getpass.getpass()\napi_key = os.environ["WANDB_API_KEY"]\ntoken = "[CLS]"\n'),
        ("a.ipynb", notebook('secret = UserSecretsClient().get_secret("key")', f'"model_id": "{KEY}"')),
        ("a.html", '<div class="sk-toggleable__label-arrow">'),
        ("a.json", '{"url":"http://example.org","email":"ada@example.org"}'),
        ("a.csv", f"{KEY},1\n{KEY * 2},2\n"),
        ("a.txt", f"{KEY * 2}  train/1.jpg\nmonkey: {KEY}\ntask-0123456789abcdefghijkl\n"),
    ],
)
def test_what_only_looks_like_a_key_is_uploaded(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    check(path)
