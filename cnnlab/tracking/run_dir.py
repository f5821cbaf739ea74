"""A run's directory: its files, its lock, and finding it by what a user types."""

import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cnnlab.errors import BadInput, CnnlabError, Interrupted, InUse, RunFailed, shortened
from cnnlab.files import naming, remove_abandoned
from cnnlab.process import last_words, lives, this_process
from cnnlab.records import Ended, Record, RunCreated, Status
from cnnlab.tracking.journal import Journal, first, mend, read

MLRUNS = Path("mlruns")
SHOWN = (("data", "dataset", str), ("model", "name", str), ("optimizer", "name", str), ("training", "seed", int))
"""What the config of every run has, whichever version made it: section, key, type."""
BEAT_SECONDS = 15.0
"""How often whoever holds a run says so, for machines that do not see its lock."""
SILENCE_SECONDS = 60.0
LEASE = "lease.json"
"""Who holds a run; it is left behind by a process that died."""


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
    return MLRUNS / "runs"


def studies_root() -> Path:
    """Where sweeps are kept, each in a folder of its name with its trials below it."""
    return MLRUNS / "studies"


def make_mlruns() -> None:
    """Make mlruns/, kept out of git by a .gitignore of its own. Raises BadInput where it cannot be made."""
    ignore = MLRUNS / ".gitignore"
    try:
        MLRUNS.mkdir(exist_ok=True)
        if not ignore.exists():
            ignore.write_text("*\n!.gitignore\n")
    except OSError as error:
        raise BadInput(f"{ignore.absolute()}: cannot be written ({error.strerror}); work in another folder") from None


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
        mine = True  # nobody else's files may be removed
        try:
            run.path.mkdir(parents=True)
        except OSError as error:
            mine = False
            if not os.path.isdir(run.path):
                raise BadInput(f"--run-dir {path}: cannot be made ({error.strerror})") from None
        try:
            with run.hold():
                if run.is_created():
                    mine = False
                    raise BadInput(
                        f"--run-dir {path}: it holds a run already; go on with it by --resume {path}, or name another"
                    )
                yield run
        except InUse:
            raise
        except (OSError, CnnlabError):
            if mine:
                shutil.rmtree(run.path, ignore_errors=True)
            raise

    def is_created(self) -> bool:
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
            RunFailed: the file system has no locks that work.
        """
        lock = FileLock(self._lock_file, timeout=1)  # `is_held` of another process has it for a moment
        try:
            lock.acquire()
        except Timeout:
            raise InUse(f"{self.path}: a live process ({self.holder()}) has this run") from None
        except (OSError, NotImplementedError) as error:
            raise self._no_locks(str(error)) from None
        stop = threading.Event()
        word = partial(self.end, "interrupted", "was interrupted twice")
        try:
            if not self.is_held():
                raise self._no_locks("two processes get one lock")
            if self._is_held_elsewhere():
                raise InUse(f"{self.path}: a live process ({self.holder()}) has this run")
            with naming(self._lease_file):
                self._lease_file.write_text(json.dumps(this_process()))
            threading.Thread(target=self._beat, args=(stop,), daemon=True).start()
            last_words.append(word)
            yield
        finally:
            if word in last_words:
                last_words.remove(word)
                stop.set()
                self._lease_file.unlink(missing_ok=True)
            lock.release()

    def is_held(self) -> bool:
        """Whether a live process, paused or not, has this run."""
        if not self._lock_file.exists():
            return False
        try:
            with FileLock(self._lock_file, timeout=0):
                return self._is_held_elsewhere()
        except Timeout:
            return True

    def holder(self) -> str:
        """Who has it, for people."""
        lease = self._lease()
        return f"pid {lease['pid']} on {lease['host']}" if lease else "pid unknown"

    def end(self, status: Status = "died", what: str = "died", *, reason: str | None = None) -> bool:
        """Write the last record of a run that has none, while holding it; whether that was so.

        Args:
            what: its process did, or what happened to it.
            reason: in place of a sentence about its process.
        """
        records, _ = read(self.journal_file)
        if not records or isinstance(records[-1], Ended):
            return False
        at = os.stat(self.journal_file).st_mtime if status == "died" else time.time()
        ended = self._death(records, at)
        with Journal(self.journal_file) as journal:
            reason = reason or ended.reason.replace("died", what, 1)
            journal.write(replace(ended, status=status, reason=reason))
        return True

    def end_by(self, error: BaseException) -> None:
        """The same for what ended the work of this process, a signal or a fault."""
        by_signal = isinstance(error, Interrupted | KeyboardInterrupt)
        self.end(*(("interrupted", "was interrupted") if by_signal else ("failed", f"failed ({error})")))

    def _death(self, records: list[Record], at: float) -> Ended:
        """What the last record that knows says of it; the first line of every journal does."""
        deaths = (record.death(records, at, self.word) for record in reversed(records))
        return next(death for death in deaths if death)

    @property
    def _lease_file(self) -> Path:
        return self.path / LEASE

    def _lease(self) -> dict[str, Any]:
        try:
            lease = json.loads(self._lease_file.read_bytes())
            return lease if {"host", "pid"} <= lease.keys() else {}
        except (OSError, ValueError, AttributeError):
            return {}

    def _is_held_elsewhere(self) -> bool:
        """Whether another machine, whose locks may not be seen here, has said lately that it holds the run."""
        lease = self._lease()
        if not lease or lives(lease) is not None:
            return False
        with suppress(OSError):
            os.utime(self._lock_file)  # held by this process; both times are the file system's, whatever clocks say
            return os.stat(self._lock_file).st_mtime - os.stat(self._lease_file).st_mtime < SILENCE_SECONDS
        return False

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._lease_file)

    def _no_locks(self, reason: str) -> RunFailed:
        return RunFailed(
            f"{self._lock_file}: the file system has no locks that work ({reason}), so two processes could train one "
            "run; put runs on another one by --run-dir"
        )


def mark_dead(run: RunDir) -> bool:
    """Write the last word of a run whose process died without one; whether that was so.

    Only while holding the run, so that one that lives, is paused or is being resumed is left alone.
    """
    try:
        with run.hold():
            if ended := run.end():
                for folder in (run.path, run.checkpoints):  # killed while it wrote, it left temporary files
                    remove_abandoned(folder)
            return ended
    except InUse:
        return False


def end_dead() -> list[RunDir]:
    """Mark the runs kept here whose process died since; those that it left a lease of are few."""
    left = [RunDir(lease.parent.absolute()) for root in (runs_root(), studies_root()) for lease in root.rglob(LEASE)]
    ended = []
    for run in left:
        with suppress(CnnlabError, OSError):  # a journal that cannot be read; `cnnlab doctor` says so
            if mark_dead(run):
                ended.append(run)
    return ended


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
