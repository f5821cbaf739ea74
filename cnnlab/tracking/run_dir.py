"""A run's directory: its files, its lock, and finding it by what a user types."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from cnnlab.errors import BadInput, InUse, RunFailed, shortened
from cnnlab.records import RunCreated
from cnnlab.tracking.journal import first, mend

STORE = Path("mlruns")
SHOWN = (("data", "dataset", str), ("model", "name", str), ("optimizer", "name", str), ("training", "seed", int))
"""What the config of every run has, whichever version made it: section, key, type."""


def new_run_id(label: str, now: datetime) -> str:
    """Readable, sorts by time, unique: 20261123-124501-digits-cnn-3f2a9c01d4.

    With 40 random bits, 1,000 runs that start in one second have two equal ids with a chance of 5e-7.
    """
    return f"{now:%Y%m%d-%H%M%S}-{as_word(label).strip('-')[:40] or 'run'}-{secrets.token_hex(5)}"


def as_word(label: str) -> str:
    """In letters that a path and a shell take as they are."""
    return "".join(c if c.isalnum() else "-" for c in label.lower())


def runs_root() -> Path:
    """Where runs are kept, below the folder in which cnnlab is called."""
    return STORE / "runs"


def studies_root() -> Path:
    """Where sweeps are kept, each in a folder of its name with its trials below it."""
    return STORE / "studies"


def ensure_store() -> None:
    """Make mlruns/, kept out of git by a .gitignore of its own."""
    STORE.mkdir(exist_ok=True)
    ignore = STORE / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n!.gitignore\n")


@dataclass(frozen=True)
class RunDir:
    """The directory of one run."""

    path: Path

    @classmethod
    @contextmanager
    def create(cls, path: Path) -> Iterator["RunDir"]:
        """A new directory, held while its first files are written: of several processes only one makes a run in it.

        Raises:
            BadInput: it cannot be made, or holds a run already.
            InUse: and that run is live.
        """
        run = cls(path.absolute())
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"--run-dir {path}: cannot be made ({error.strerror})") from None
        with run.hold():
            if run.has_begun():
                raise BadInput(
                    f"--run-dir {path}: it holds a run already; go on with it by --resume {path}, or name another"
                )
            yield run

    def has_begun(self) -> bool:
        """Whether its journal has a first line; a process killed while it made the run may have left less."""
        try:
            with open(self.journal_file, "rb") as file:
                return file.readline().endswith(b"\n")
        except FileNotFoundError:
            return False

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def journal_file(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def delivery_file(self) -> Path:
        return self.path / "delivery.json"

    @property
    def courier_log(self) -> Path:
        return self.path / "courier.log"

    @property
    def _lock_file(self) -> Path:
        return self.path / "lock"

    @cached_property
    def created(self) -> RunCreated:
        """The journal's first line. Raises RunFailed if it is lost, or is no record of a run."""
        created = first(self.journal_file)
        if not isinstance(created, RunCreated):
            raise RunFailed(f"{self.journal_file}: the journal does not begin with a run")
        for section, key, kind in SHOWN:
            values = created.config.get(section)
            if not (isinstance(values, dict) and isinstance(values.get(key), kind)):
                raise RunFailed(f"{self.journal_file}: the config in the journal's first line has no {section}.{key}")
        return created

    def mend(self) -> str | None:
        """Set damaged lines of the journal aside, unless a live process has the run; what was done, if anything was."""
        try:
            with self.hold():
                return mend(self.journal_file)
        except InUse:
            return None

    def is_readable(self) -> bool:
        """Whether its journal can be read."""
        try:
            return bool(self.created)
        except RunFailed:
            return False

    @property
    def run_id(self) -> str:
        return self.created.run_id

    @property
    def word(self) -> str:
        """What `find_run` finds it by from here: its id, or its directory where that is a place of its own."""
        own = self.path.parent == runs_root().absolute() or self.path.is_relative_to(studies_root().absolute())
        return self.run_id if own else str(self.path)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the live process of this run; the system lets go when the process ends, however it ends.

        Raises:
            InUse: another process is.
        """
        lock = FileLock(self._lock_file, timeout=1)  # `is_held` of another process has it for a moment
        try:
            lock.acquire()
        except Timeout:
            raise InUse(f"{self.path}: a live process ({self.holder()}) has this run") from None
        try:
            (self.path / "lock.pid").write_text(str(os.getpid()))
            yield
        finally:
            lock.release()

    def is_held(self) -> bool:
        """Whether a live process has this run."""
        if not self._lock_file.exists():
            return False
        try:
            with FileLock(self._lock_file, timeout=0):
                return False
        except Timeout:
            return True

    def holder(self) -> str:
        """Who has it, for people."""
        try:
            return f"pid {(self.path / 'lock.pid').read_text()}"
        except OSError:
            return "pid unknown"


def list_runs() -> list[RunDir]:
    """The runs kept here, oldest first."""
    return [RunDir(path.parent.absolute()) for path in sorted(runs_root().glob("*/journal.jsonl"))]


def list_studies() -> list[RunDir]:
    """The sweeps kept here, by name."""
    return [RunDir(path.parent.absolute()) for path in sorted(studies_root().glob("*/journal.jsonl"))]


def list_trials() -> list[RunDir]:
    """The runs of the sweeps' trials, sweep by sweep."""
    return [RunDir(path.parent.absolute()) for path in sorted(studies_root().glob("*/*/**/journal.jsonl"))]


def find_run(word: str) -> RunDir:
    """The run that a user means by an id, an unambiguous beginning of one, `last`, or a directory.

    Raises:
        BadInput: there is none, or several begin so.
    """
    if not word:
        raise BadInput("RUN is empty; give a run id, a beginning of one, last, or a run's directory")
    if word != "last" and os.path.exists(Path(word) / "journal.jsonl"):
        return RunDir(Path(word).absolute())
    runs = [run for run in list_runs() if run.path.name == word or run.is_readable()]
    if word == "last":
        if not runs:
            raise BadInput("last: there are no runs in mlruns/runs yet; cnnlab train makes one")
        return max(runs, key=lambda run: run.created.time)
    runs += [run for run in list_trials() if run.is_readable()]
    exact = [run for run in runs if run.path.name == word] or [run for run in runs if run.run_id == word]
    matching = exact or [run for run in runs if run.run_id.startswith(word)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(run.run_id for run in matching[:3]) + (", ..." if len(matching) > 3 else "")
        raise BadInput(f"{shortened(word)}: {len(matching)} runs begin so: {names}; type more")
    raise BadInput(
        f"{shortened(word)}: no run begins so, and it is no run's directory; cnnlab runs lists what there is"
    )
