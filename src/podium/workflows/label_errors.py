"""Labelled images whose label is probably wrong, for a person to look at.

runs/errors/<ensemble>/
  errors.csv                  id, label, suggested label, margin and image, the most suspicious first
  errors.png                  the first of these images
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from podium.config.loading import Ensemble
from podium.errors import DataError
from podium.files import write_text
from podium.options import RunOptions
from podium.workflows.pseudo import blend_finished

if TYPE_CHECKING:
    import pandas as pd

    from podium.data.target import Target
    from podium.predictions import Predictions

SHOWN = 48
"""How many images are drawn."""


def list_label_errors(ensemble: Ensemble, options: RunOptions, console: Console) -> Path:
    """List the suspicious rows and draw the first of them. Returns the table."""
    import pandas as pd

    from podium.data.answers import has_answers
    from podium.data.targets import target_of
    from podium.predictions import concatenate
    from podium.reports.sheet import draw_sheet

    finished = blend_finished(ensemble, options, console)
    target = target_of(finished.prepared.competition)
    if not has_answers(target):
        raise DataError(f"labels of {target.kind} are numbers, not right or wrong; expected classes or labels")
    oof = concatenate([blend.oof for blend in finished.blends.values()])
    found = suspicious_labels(oof, target)
    rows = finished.prepared.rows
    table = rows.train.set_index("id")
    paths = rows.paths.take(table.loc[found["id"], "image"].to_numpy())
    found["image"] = [paths.text(number) for number in range(len(paths))]
    folder = options.runs / "errors" / ensemble.name
    write_text(folder / "errors.csv", found.to_csv(index=False, lineterminator="\n", float_format="%.4f"))
    console.print(
        f"{ensemble.name}: {len(found):,} of {len(oof.ids):,} labels are suspicious: {folder / 'errors.csv'}",
        highlight=False,
    )
    if len(found):
        shown: pd.DataFrame = found.iloc[:SHOWN]
        names = finished.prepared.competition.classes
        titles = [
            f"{str(row.id)[-24:]}\n"
            + " → ".join(names.get(str(name), str(name)) for name in (row.label, row.suggested))
            for row in shown.itertuples()
        ]
        draw_sheet(paths, range(len(shown)), titles, folder / "errors.png")
        console.print(
            f"{folder / 'errors.png'}: the first {len(shown)} of them; look at each, and list the wrong ones in the"
            " file that ignore of the competition file names",
            highlight=False,
        )
    return folder / "errors.csv"


def suspicious_labels(oof: "Predictions", target: "Target") -> "pd.DataFrame":
    """The columns id, label, suggested and margin; with several labels, a row for each suspicious one."""
    import numpy as np
    import pandas as pd

    from podium.evaluation.label_errors import find_label_errors

    truth = target.truth(oof.known_truth)
    if target.head != "sigmoid":
        cases = [(oof.values, truth, target.labels)]
    else:
        truths, names = (truth[:, None], [target.labels]) if target.truth_is_class else (
            truth, [[f"not {name}", name] for name in target.labels])  # fmt: skip
        cases = [
            (np.column_stack([1 - oof.values[:, column], oof.values[:, column]]), truths[:, column].astype(int), both)
            for column, both in enumerate(names)
        ]
    parts = []
    for probabilities, labels, names_of in cases:
        errors, known = find_label_errors(probabilities, labels), np.array(names_of, dtype=object)
        columns = {"label": known[labels[errors.rows]], "suggested": known[errors.suggested], "margin": errors.margin}
        parts.append(pd.DataFrame({"id": np.array(oof.ids, dtype=object)[errors.rows], **columns}))
    return pd.concat(parts, ignore_index=True).sort_values("margin", kind="stable", ignore_index=True)
