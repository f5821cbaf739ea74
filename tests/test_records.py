"""Records describe themselves: their line, what they are in MLflow, and what a death after them looks like."""

from cnnlab.metrics import LOSS
from cnnlab.records import (
    Epoch,
    RunCreated,
    RunEnded,
    Steps,
    SweepEnded,
    SweepStarted,
    TrialEnded,
    from_line,
    to_line,
)

CREATED = RunCreated("run-1", 1.0, "tests", "none", {"data": {"batch_size": 64, "dataset": "digits"}, "search": {}}, {})


def test_a_journal_of_many_steps_survives_to_the_last_bit() -> None:
    losses = tuple(1 / (3 + index) for index in range(1000))
    record = Steps(1, losses, tuple(1.7e9 + index / 7 for index in range(1000)))
    assert from_line(to_line(record)) == record
    assert record.after(990).losses == losses[990:]


def test_metrics_have_their_own_names_in_mlflow() -> None:
    epoch = Epoch(2.0, 1, 10, {"loss": 0.5, "mean_iou": 0.4}, {"loss": 0.6, "mean_iou": 0.3}, 0.1, 5.0, 1.0, True)
    assert {row.key: row.value for row in epoch.mlflow_metrics()} == {
        "epoch": 1,
        "train/epoch_loss": 0.5,
        "train/mean_iou": 0.4,
        "val/loss": 0.6,
        "val/mean_iou": 0.3,
        "lr": 0.1,
        "images_per_second": 5.0,
    }
    ended = RunEnded(2.0, "finished", "", 10, 1, best={"loss": 0.6}, test={"loss": 0.7}, score="loss")
    assert {row.key: row.value for row in ended.mlflow_metrics()} == {"best/val_loss": 0.6, "test/loss": 0.7}
    assert {row.key for row in TrialEnded(1.0, 3, "complete", 0.5, 0.4, {}, 4, score="loss").mlflow_metrics()} == {
        "trial/val_loss",
        "best/val_loss",
    }


def test_only_settings_of_a_run_are_its_parameters() -> None:
    assert CREATED.mlflow_params() == {"data.batch_size": "64", "data.dataset": "digits"}


def test_a_sweeps_death_names_the_best_trial_in_the_scores_direction() -> None:
    def death(**score: object) -> SweepEnded:
        started = SweepStarted(1.0, "s", "file", 5, "tpe", "asha", 1, {}, **score)  # type: ignore[arg-type]
        trials = [
            TrialEnded(1.0, n, "complete", value, None, {"n": n}, n + 1) for n, value in enumerate((0.5, 0.2, 0.9))
        ]
        ended = started.death([CREATED, started, *trials], 9.0, "word")
        assert (ended.time, ended.status) == (9.0, "died")
        assert ended.reason == "its process died after 3 of 5 trials; the same command goes on"
        return ended

    assert death().best_trial == 2
    assert death(score=LOSS).best_trial == 1


def test_a_runs_death_says_how_far_it_had_got() -> None:
    epoch = Epoch(1.0, 2, 3, {"loss": 0.5}, {"loss": 1.0}, 0.1, 3.0, 1.0, True)
    records = [CREATED, Steps(1, (0.5, 0.4), (1.0, 2.0)), epoch]
    ended = CREATED.death(records, 9.0, "run-1")
    assert (ended.step, ended.epoch) == (2, 2)
    assert ended.reason == "its process died after epoch 2; cnnlab train --resume run-1 goes on"
