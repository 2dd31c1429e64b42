"""Kaggle's own command line against the stand-in: it works there, and sends what podium sends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run_podium

MAIN = """
import sys
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = sys.argv.pop(1)
from kaggle.cli import main
main()
"""
REF = "ada/podium-tiny-fold0"
VARYING = {"blobFileTokens"}


@pytest.fixture
def kaggle(standin, tmp_path, monkeypatch):
    """`kaggle("kernels", "push", "-p", ".")`: the official command, in a process of its own; returns its output."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        command = [sys.executable, "-c", MAIN, standin.endpoint, *words]
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | standin.environment
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def podium(*words):
    ended = run_podium(Path.cwd(), *words)
    assert (ended.code, ended.err) == (0, "")
    return ended.out


def requests(standin, method):
    """What both sent with this method, without what the service gave them."""
    sent = [call.request.to_dict() for call in standin.calls if call.method == method]
    return [{name: value for name, value in request.items() if name not in VARYING} for request in sent]


@pytest.mark.parametrize("gpu", ["t4", "none"])
def test_kernels_push_sends_what_podium_sends(kaggle, standin, tiny_competition, gpu):
    standin.add_competition("tiny-squares", tiny_competition.folder, answers=tiny_competition.answers)
    podium("kernel", "push", tiny_competition.member(), "--fold", "0", "--gpu", gpu)
    out = kaggle("kernels", "push", "-p", ".", "-t", str(12 * 3600))
    assert f"Kernel version 2 successfully pushed.  Please check progress at https://www.kaggle.com/code/{REF}" in out
    ours, theirs = requests(standin, "SaveKernel")
    assert ours == theirs


def test_kernels_status_agrees_with_podium(kaggle, standin):
    standin.add_kernel("ada/some-kernel")
    assert "complete" in podium("kernel", "status", "ada/some-kernel")
    assert (
        kaggle("kernels", "status", "ada/some-kernel") == 'ada/some-kernel has status "KernelWorkerStatus.COMPLETE"\n'
    )
    ours, theirs = requests(standin, "GetKernelSessionStatus")
    assert ours == theirs


def test_competitions_submit_sends_what_podium_sends(kaggle, standin):
    from podium.kaggle.client import sign_in

    standin.add_competition("cars", {}, lambda content: 0.5)
    Path("answer.csv").write_text("Id,Category\na,0\n")
    sign_in().submit("cars", Path("answer.csv"), "two members")
    assert "Successfully submitted to Cars" in kaggle(
        "competitions", "submit", "cars", "-f", "answer.csv", "-m", "two members"
    )
    for method in ("StartSubmissionUpload", "CreateSubmission"):
        ours, theirs = requests(standin, method)
        assert ours == theirs, method
    ours, theirs = standin.submissions["cars"]
    assert (ours.content, ours.description, ours.file_name) == (theirs.content, theirs.description, theirs.file_name)
