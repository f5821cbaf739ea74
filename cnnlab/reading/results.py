"""What a run came to, from its journal."""

from cnnlab.records import Epoch, RunEnded, RunStarted
from cnnlab.result import Result
from cnnlab.tracking import RunDir, last, mlflow_run_id, read


def run_result(run: RunDir) -> Result:
    """The object that `train --json` prints; what is not known yet is None.

    Losses are mean nats a sample, accuracies fractions in [0, 1]. Beside the keys that scripts rely on there is
    `reason`, a sentence where the status is not "finished".
    """
    records = read(run.journal_file)[0]
    started, epoch, ended = last(records, RunStarted), last(records, Epoch), last(records, RunEnded)
    config = run.created.config
    return Result(
        {
            "run_id": run.run_id,
            "mlflow_run_id": mlflow_run_id(run),
            "status": ended.status if ended else "running",
            "dataset": config["data"]["dataset"],
            "model": config["model"]["name"],
            "optimizer": config["optimizer"]["name"],
            "parameters": started and started.parameters,
            "epochs": epoch.epoch if epoch else 0,
            "steps": ended.step if ended else epoch and epoch.step,
            "best_epoch": ended and ended.best_epoch,
            "train_loss": epoch and epoch.train_loss,
            "val_loss": epoch and epoch.val_loss,
            "val_accuracy": epoch and epoch.val_accuracy,
            "best_val_accuracy": ended and ended.best_val_accuracy,
            "test_loss": ended and ended.test_loss,
            "test_accuracy": ended and ended.test_accuracy,
            "fit_seconds": ended and ended.fit_seconds,
            "images_per_second": ended and ended.images_per_second,
            "device": started and started.device,
            "precision": started and started.precision,
            "seed": config["training"]["seed"],
            "weights_sha256": ended and ended.weights_sha256,
            "run_dir": str(run.path),
            "reason": ended.reason if ended else "",
        }
    )
