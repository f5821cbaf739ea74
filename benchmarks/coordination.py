"""What sharing a study costs:   uv run python benchmarks/coordination.py [--storage postgresql://...]

Workers whose trial is a sleep claim slots, draw parameters, report, and tell how it ended, through the same code as a
sweep. 2 and 16 workers with trials of 5 s and 10 reports: the rate against the ideal one, and whether a trial was lost
or doubled. The latter also by Optuna alone, its own `study.optimize` on its own storage, where each worker has a fixed
share and nobody counts.
"""

import argparse
import multiprocessing
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def plan_of(study: str, storage: str, trials: int) -> Any:
    from cnnlab.config import RunConfig
    from cnnlab.config.commands import SweepOptions
    from cnnlab.config.space_reading import read_space
    from cnnlab.search.plan import Plan
    from cnnlab.search.storage import storage_url

    config = RunConfig()
    options = SweepOptions(
        trials=trials, sampler="random", pruner="none", study=study, storage=storage_url(storage, study)
    )
    return Plan.of(config, read_space(config), options)


def worker(plan: Any, seconds: float, reports: int, ready: Any, go: Any) -> None:
    """Claim and sleep until nothing is waiting."""
    import copy

    from optuna.trial import Trial, TrialState

    from cnnlab.search.claims import beating, claim, tell
    from cnnlab.search.sampling import suggest
    from cnnlab.search.stages import Search
    from cnnlab.search.storage import open_storage
    from cnnlab.search.study import find_study

    open_storage.cache_clear()  # a lock and a connection of its own, not those from before the fork
    search, base = Search(plan), find_study(plan.study, plan.storage)
    base.get_trials()
    ready.release()
    go.wait()
    while slot := claim(base, plan.trials, search.first_params):
        study = copy.copy(base)  # as `run_trial` does
        study.sampler = search.sampler(slot.number)
        trial = Trial(study, slot.trial._trial_id)
        with beating(study, trial):
            suggest(trial, plan.space)
            for report in range(reports):
                time.sleep(seconds / reports)
                trial.report(0.5, report)
            tell(study, trial, TrialState.COMPLETE, 0.5)


def optuna_alone(plan: Any, share: int, seconds: float, reports: int, ready: Any, go: Any) -> None:
    """The same trial, a fixed share of them, by Optuna as its documentation has it."""
    import optuna

    from cnnlab.search.sampling import suggest

    study = optuna.load_study(
        study_name=plan.study, storage=_plain_storage(plan.storage), sampler=optuna.samplers.RandomSampler()
    )

    def objective(trial: Any) -> float:
        suggest(trial, plan.space)
        for report in range(reports):
            time.sleep(seconds / reports)
            trial.report(0.5, report)
        return 0.5

    ready.release()
    go.wait()
    study.optimize(objective, n_trials=share)


def _plain_storage(url: str) -> Any:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    return RDBStorage(url) if "://" in url else JournalStorage(JournalFileBackend(url))


def _run(work: Any, workers: int, *words: Any, then: Any = lambda: None) -> float:
    """Seconds of so many processes from the moment when all are ready; `then` is called at that moment."""
    context = multiprocessing.get_context("fork")  # so many imports of torch would take long
    ready, go = context.Semaphore(0), context.Event()
    processes = [context.Process(target=work, args=(*words, ready, go), daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    began = time.perf_counter()
    go.set()
    then()
    for process in processes:
        process.join()
    return time.perf_counter() - began


def _say(what: str, workers: int, trials: int, seconds: float, wall: float, complete: int, study: Any) -> None:
    ideal = seconds * -(-trials // workers)
    print(
        f"{what}{workers} workers, {trials} trials of {seconds:g} s: {wall:.2f} s, ideal {ideal:.2f} s: "
        f"{ideal / wall:.3f} of the ideal rate, {1 - ideal / wall:.2%} is not sleep; "
        f"{complete} complete, {len(study.get_trials())} in the study"
    )


def measure(name: str, storage: str, workers: int, trials: int, seconds: float, reports: int) -> None:
    """One line of the table."""
    from cnnlab.search.claims import Watch, fill, study_slots
    from cnnlab.search.stages import Search
    from cnnlab.search.study import enter
    from cnnlab.search.workers import POLL_SECONDS

    plan, study = enter(plan_of(name, storage, trials))
    fill(study, trials, Search(plan).first_params, ahead=2 * workers)
    over = threading.Event()

    def look_after() -> None:  # as a sweep's command does
        watch = Watch()
        while not over.wait(POLL_SECONDS):
            fill(study, trials, Search(plan).first_params, ahead=2 * workers)
            watch.reap(study, study_slots(study, trials))

    looking = threading.Thread(target=look_after)
    # started once the workers are forked, so that none of them inherits a lock that it holds
    wall = _run(worker, workers, plan, seconds, reports, then=looking.start)
    over.set()
    looking.join()
    complete = sum(slot.state == "complete" for slot in study_slots(study, trials))
    _say("", workers, trials, seconds, wall, complete, study)


def measure_optuna(name: str, storage: str, workers: int, trials: int, seconds: float, reports: int) -> None:
    """The line of Optuna alone."""
    import optuna

    plan = plan_of(name, storage, trials)
    study = optuna.create_study(study_name=name, storage=_plain_storage(plan.storage), direction="maximize")
    wall = _run(optuna_alone, workers, plan, trials // workers, seconds, reports)
    complete = sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.get_trials())
    _say("Optuna alone, ", workers, trials, seconds, wall, complete, study)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", help="a database; a file where none is given")
    parser.add_argument("--few", type=int, default=6, help="trials of 2 workers")
    parser.add_argument("--many", type=int, default=64, help="trials of --workers")
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a trial")
    parser.add_argument("--reports", type=int, default=10, help="of a trial")
    parser.add_argument("--optuna", action="store_true", help="by Optuna alone too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stamp = f"{time.time():.0f}"
        storage = arguments.storage or str(Path(folder, "study.journal"))
        for name, workers, trials in (("few", 2, arguments.few), ("many", arguments.workers, arguments.many)):
            if trials:
                measure(f"{name}-{stamp}", storage, workers, trials, arguments.seconds, arguments.reports)
        if arguments.optuna:
            many = (arguments.workers, arguments.many, arguments.seconds, arguments.reports)
            measure_optuna(f"optuna-{stamp}", storage, *many)


if __name__ == "__main__":
    main()
