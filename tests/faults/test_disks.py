"""A disk is full, fails, or loses what was not synced: one line names the file, and the run goes on to the same bits."""

import os
from pathlib import Path

import pytest

from cnnlab.records import Steps
from cnnlab.tracking import read
from tests.faults.table import tally
from tests.faults.trainee import config, new_run, prepared, record_run

# the power fails


def test_the_journal_is_on_disk_before_a_checkpoint_is_sealed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else a power failure takes the steps before it, and a resume has to begin at the checkpoint before that one."""
    monkeypatch.setattr("cnnlab.tracking.journal.SYNC_SECONDS", 1000)  # the thread that syncs may be late
    of = config(training__checkpoint_every=3)
    run, synced, sealed = new_run(Path("run"), of), b"", {}
    fsync, replace = os.fsync, os.replace

    def synced_now(file: int) -> None:
        nonlocal synced
        fsync(file)
        if os.path.realpath(f"/proc/self/fd/{file}") == str(run.journal_file):
            synced = run.journal_file.read_bytes()

    def sealed_now(before: Path, after: Path) -> None:
        replace(before, after)
        if after.parent == run.checkpoints and after.suffix == ".json":
            sealed[int(after.stem.removeprefix("step-"))] = synced

    monkeypatch.setattr(os, "fsync", synced_now)
    monkeypatch.setattr(os, "replace", sealed_now)
    records = record_run(prepared(of), run)
    for record in records:
        if isinstance(record, Steps) and record.last > 20:
            records.close()
    left, held = tmp_path / "journal.jsonl", 0
    for step, journal in sealed.items():
        left.write_bytes(journal)
        held += max((record.last for record in read(left)[0] if isinstance(record, Steps)), default=0) == step
    tally("power lost as a checkpoint was sealed", tried=len(sealed), held=held)
    assert held == len(sealed) >= 8
