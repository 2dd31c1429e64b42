"""`podium export`, read back with MLflow's client."""

import pandas as pd
import pytest
from mlflow import MlflowClient

from podium.predictions import EXACT_FLOATS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, in MLflow
def test_runs_are_in_the_store_once_with_settings_and_history(finished_ensemble, tmp_path, podium_in):
    finished_ensemble.copy_to(tmp_path)
    for path in tmp_path.glob("runs/*/*/history.csv"):
        path.write_text(path.read_text().replace("val_accuracy", "val_map@3"))
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    first = podium_in(tmp_path, "export", "--store", store)
    assert (first.code, "4 of 4 runs exported" in first.out) == (0, True), first.err
    assert "others" not in first.out
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("tiny-squares").experiment_id
    found = {run.data.tags["podium.run"]: run for run in client.search_runs([experiment])}
    folder = next((tmp_path / "runs").glob("first-*/fold0"))
    run = found[str(folder.relative_to(tmp_path))]
    history = pd.read_csv(folder / "history.csv", **EXACT_FLOATS)
    logged = client.get_metric_history(run.info.run_id, "val_loss")
    assert [metric.value for metric in sorted(logged, key=lambda metric: metric.step)] == list(history.val_loss)
    assert client.get_metric_history(run.info.run_id, "val_map_3")  # MLflow allows no @
    assert (run.info.status, run.data.params["stages.0.batch_size"]) == ("FINISHED", "8")

    (folder / "history.csv").write_text((folder / "history.csv").read_text() + "\n")
    assert "1 of 4 runs exported" in podium_in(tmp_path, "export", "--store", store).out
    assert len(client.search_runs([experiment])) == 4


def test_without_runs_no_store_is_written(tmp_path, podium_in):
    done = podium_in(tmp_path, "export")
    assert (done.code, done.out) == (0, "no runs in runs; start one with podium train or podium run\n")
    assert list(tmp_path.iterdir()) == []
