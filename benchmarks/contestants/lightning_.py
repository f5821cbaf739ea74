"""Lightning's Trainer, without a logger, or (`record`) with MLFlowLogger at every step."""

import logging
import time
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.contestants.job import Job, Outcome, loaders, main, network, rows_in_database


class Module(lightning.LightningModule):
    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job
        self.model = network(job)
        self.images = 0

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.model(x), y)
        if self.job.record:
            self.log("train/loss", loss)
        self.images += len(x)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        x, y = batch
        logits = self.model(x)
        self.log("val/loss", F.cross_entropy(logits, y))
        self.log("val/accuracy", (logits.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.job.lr, momentum=self.job.momentum)


def run(job: Job) -> Outcome:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(job.seed)
    module = Module(job)
    train, val = loaders(job)
    database = Path(job.scratch, "mlflow.db")
    logger: Any = False
    if job.record:
        from lightning.pytorch.loggers import MLFlowLogger

        logger = MLFlowLogger("benchmark", tracking_uri=f"sqlite:///{database}")
        _ = logger.run_id  # the database is made before the clock starts
    trainer = lightning.Trainer(
        max_epochs=job.epochs,
        accelerator="cpu",
        logger=logger,
        log_every_n_steps=1 if job.record else 50,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=job.scratch,
    )
    start = time.perf_counter()
    trainer.fit(module, train, val)
    seconds = time.perf_counter() - start
    rows = rows_in_database(database, "train/loss") if job.record else None
    return Outcome(seconds, module.images, trainer.callback_metrics["val/accuracy"].item(), rows=rows)


if __name__ == "__main__":
    main(run)
