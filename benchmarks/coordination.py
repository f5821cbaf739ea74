"""What sharing a study costs:   uv run python benchmarks/coordination.py [--storage postgresql://...]

Workers whose trial is a sleep claim slots, draw parameters, report, and tell how it ended, through the same code as a
sweep. 2 workers with trials of 5 s and 10 reports: the share of the wall time that is not sleep. 64 workers with trials
of 0.1 s: the rate against the ideal one, and whether a trial was lost or doubled.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def plan_of(study: str, storage: str, trials: int) -> Any:
    from cnnlab.config import RunConfig
    from cnnlab.config.space_reading import read_space
    from cnnlab.search.plan import Plan
    from cnnlab.search.storage import storage_url

    config = RunConfig()
    return Plan(config, read_space(config), trials, "random", "none", study=study, storage=storage_url(storage, study))


def worker(plan: Any, seconds: float, reports: int, ready: Any, go: Any) -> None:
    """Claim and sleep until nothing is waiting."""
    from optuna.trial import Trial, TrialState

    from cnnlab.search.claims import beating, claim, open_study, tell
    from cnnlab.search.samplers import suggest
    from cnnlab.search.stages import Search
    from cnnlab.search.storage import open_storage

    open_storage.cache_clear()  # a lock and a connection of its own, not those from before the fork
    search, base = Search(plan), open_study(plan.study, open_storage(plan.storage))
    storage = base._storage  # as a sweep's worker has it
    base.get_trials()
    ready.release()
    go.wait()
    while slot := claim(base, plan.trials, search.first_params):
        study = open_study(plan.study, storage, search.sampler(slot.number))
        trial = Trial(study, slot.trial._trial_id)
        with beating(storage, trial):
            suggest(trial, plan.space)
            for report in range(reports):
                time.sleep(seconds / reports)
                trial.report(0.5, report)
            tell(study, trial, TrialState.COMPLETE, 0.5)


def measure(name: str, storage: str, workers: int, trials: int, seconds: float, reports: int) -> None:
    """One line of the table."""
    from cnnlab.search.claims import Watch, fill, study_slots
    from cnnlab.search.stages import Search
    from cnnlab.search.study import enter
    from cnnlab.search.sweep import POLL_SECONDS

    plan, study = enter(plan_of(name, storage, trials))
    fill(study, trials, Search(plan).first_params, ahead=2 * workers)
    context = multiprocessing.get_context("fork")  # 64 imports of torch would not fit into memory
    ready, go = context.Semaphore(0), context.Event()
    processes = [
        context.Process(target=worker, args=(plan, seconds, reports, ready, go), daemon=True) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    began = time.perf_counter()
    go.set()
    watch = Watch()
    while any(process.is_alive() for process in processes):  # as a sweep's command looks after its workers
        fill(study, trials, Search(plan).first_params, ahead=2 * workers, least=workers)
        watch.reap(study, study_slots(study, trials))
        processes[0].join(POLL_SECONDS)
    wall = time.perf_counter() - began
    ideal = seconds * -(-trials // workers)
    states = [slot.state for slot in study_slots(study, trials)]
    print(
        f"{workers} workers, {trials} trials of {seconds:g} s: {wall:.2f} s, ideal {ideal:.2f} s: "
        f"{ideal / wall:.3f} of the ideal rate, {1 - ideal / wall:.2%} is not sleep; "
        f"{states.count('complete')} complete, {len(study.get_trials())} in the study"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", help="a database; a file where none is given")
    parser.add_argument("--few", type=int, default=6, help="trials of 5 s")
    parser.add_argument("--many", type=int, default=640, help="trials of 0.1 s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stamp = f"{time.time():.0f}"
        storage = arguments.storage or str(Path(folder, "study.journal"))
        measure(f"few-{stamp}", storage, 2, arguments.few, 5.0, 10)
        measure(f"many-{stamp}", storage, 64, arguments.many, 0.1, 1)


if __name__ == "__main__":
    main()
