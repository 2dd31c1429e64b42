"""The submissions to a competition: updated from Kaggle, compared with cross-validation, ranked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.config.kaggle_names import SLUG
from podium.errors import SubmissionError
from podium.evaluation.metrics import find_metric, metric_of
from podium.paths import submissions_folder
from podium.submission.board import (
    Agreement,
    Standing,
    agreement,
    distinct,
    place_among,
    standings,
    with_both_scores,
)
from podium.submission.ledger import Ledger, Row
from podium.workflows.check import competition_called, find_competition
from podium.workflows.submit import blend_facts


@dataclass(frozen=True)
class SyncResult:
    added: int
    changed: int
    teams: int


@dataclass(frozen=True)
class Board:
    competition: str
    metric: str
    """Empty if unknown."""
    higher_is_better: bool | None
    rows: list[Row]
    agreement: Agreement
    standings: list[Standing]
    chart: Path | None
    other_competitions: dict[str, int]
    """Other competitions in the ledger, with the number of their submissions."""
    synced: SyncResult | None = None


def board(
    competition: str | Path | None = None,
    *,
    sync: bool = False,
    runs: Path = Path("runs"),
    out: Path | None = None,
    last: int = 10,
) -> Board:
    """The submissions to a competition, by default the one submitted to last, and a chart in `out`.

    `sync` updates the ledger from Kaggle first. `last` is the number of the newest submissions to rank.
    """
    ledger = Ledger()
    slug, higher_is_better = _find_slug(competition, ledger, runs)
    synced = sync_ledger(slug, higher_is_better, runs, ledger) if sync else None
    rows = sorted(ledger.rows(slug), key=lambda row: row.time)
    metric = next((row["metric"] for row in reversed(rows) if row["metric"]), "")
    if known := find_metric(metric):
        higher_is_better = known.higher_is_better
    agreed = agreement(rows)
    ranked: list[Standing] = []
    if higher_is_better is not None:
        scored = [row for row in rows if row.cross_validation is not None and row.status == "complete"]
        ranked = standings(distinct(scored)[-last:], higher_is_better, agreed.is_significant)
    chart = out or submissions_folder() / "board.png"
    both = with_both_scores(rows)
    if both:
        from podium.submission.chart import draw_board

        best = ranked[0].row if ranked else None
        draw_board(both, chart, metric=metric, higher_is_better=higher_is_better, best=best)
    others = Counter(row["competition"] for row in ledger.rows() if row["competition"] != slug)
    return Board(slug, metric, higher_is_better, rows, agreed, ranked, chart if both else None, dict(others), synced)


def _find_slug(name: str | Path | None, ledger: Ledger, runs: Path) -> tuple[str, bool | None]:
    """The competition's slug, and whether a higher score is better, if a competition file defines it."""
    if name is not None and not SLUG.fullmatch(str(name)):
        competition = find_competition(name, runs=runs)
        return competition.slug, metric_of(competition).higher_is_better
    if name is None:
        rows = sorted(ledger.rows(), key=lambda row: row.time)
        if not rows:
            raise SubmissionError(
                f"{ledger.path} has no rows; name a competition: podium board --competition SLUG --sync reads what was"
                " submitted from elsewhere"
            )
        name = rows[-1]["competition"]
    known = competition_called(str(name), runs)
    return str(name), metric_of(known).higher_is_better if known else None


def sync_ledger(slug: str, higher_is_better: bool | None, runs: Path, ledger: Ledger) -> SyncResult:
    """Add submissions made elsewhere, and update scores and places on the leaderboard."""
    from podium.kaggle.client import sign_in

    kaggle = sign_in()
    before = ledger.rows(slug)
    with ledger.sending() as has_lock:
        rows = ledger.update(slug, kaggle.submissions(slug), has_lock=has_lock)
    changed = sum(new != old for new, old in zip(rows, before, strict=False))
    scores = [entry.score for entry in kaggle.leaderboard(slug)]
    with ledger.editing() as all_rows:
        all_rows[:] = [
            _with_place(_with_blend_facts(row, runs), scores, higher_is_better) if row["competition"] == slug else row
            for row in all_rows
        ]
    return SyncResult(len(rows) - len(before), changed, len(scores))


def _with_blend_facts(row: Row, runs: Path) -> Row:
    """Add the scores of a local blend: another machine may have submitted its file."""
    if row.cross_validation is not None or row["sha256"]:
        return row
    return row.changed(**blend_facts(row["file"], row["competition"], runs))


def _with_place(row: Row, scores: Sequence[float | None], higher_is_better: bool | None) -> Row:
    if row.public_score is None or not scores:
        return row
    return row.changed(place=place_among(row.public_score, scores, higher_is_better), teams=len(scores))
