"""A competition's own metric decides which weights are best, so it belongs to the digest of a run."""

from rich.console import Console

from podium.config.loading import load_member
from podium.options import RunOptions
from podium.workflows.fold_runs import fold_runs
from podium.workflows.prepare import prepare

CODE = """
HIGHER_IS_BETTER = True

def score(truth, predictions):
    return predictions[range(len(truth)), truth].mean()
"""


def test_another_metric_file_is_another_run(tiny_competition, tmp_path):
    options = RunOptions(data=tiny_competition.folder, runs=tmp_path / "runs")

    def folder(code, metric="mine.py:score"):
        (tiny_competition.config.parent / "mine.py").write_text(code)
        tiny_competition.change(metric=metric)
        member = load_member(tiny_competition.member())
        return fold_runs(member, prepare(member.competition, options, Console(quiet=True)), options)[0].path

    same = folder(CODE)
    assert folder(CODE) == same
    others = [folder(CODE.replace("mean()", "min()")), folder(CODE, "accuracy")]
    assert len({same, *others}) == 3
