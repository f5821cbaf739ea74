"""A comparison from its config to its verdicts: `with Comparison(config) as comparison: ...`.

It has a contest per experiment (a workload), each with the same arms. PyTorch is imported when the comparison begins.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.comparison.contest_work import ContestWork
from cnnlab.config import Given, RunConfig, config_given
from cnnlab.config.arms import Arm, read_arms
from cnnlab.config.commands import CompareOptions, Design, options_from
from cnnlab.errors import BadInput
from cnnlab.result import Result

if TYPE_CHECKING:
    from cnnlab.comparison.contests import Contest
    from cnnlab.comparison.verdicts import Verdicts
    from cnnlab.search.workers import SweepState


AGAIN = "-again"
"""The end of the second name of the optimizer that --null compares with itself."""
FIXED_SECONDS = 0.4
"""Of a training beside its estimated steps (0.65 s on the digits): 240 of the digits took 92 s on two quiet cores, 0.77
s each, and 155 s on busy ones, 1.29 s each."""


class Comparison(ContestWork):
    """A comparison. Iterate over it to tune all arms and train their best again, or `tune` and `judge` its `contests`
    one by one."""

    def __init__(self, config: Given | Sequence[Given] = None, **options: Any) -> None:
        """Compare optimizers, or the values of a setting. The same arguments continue a comparison that was stopped.

        Args:
            config: the experiment; a `RunConfig`, plain values, or a YAML file. In a list, each is a workload.
            options: the fields of `cnnlab.config.commands.CompareOptions`. `optimizers` is a list of names, or
                maps each name to its settings and ranges, as `compare` of a config does; `over` is
                `{"model.activation": ["relu", "tanh"]}`, or a string as of --over.

        Raises:
            BadInput: a config is invalid, its arms cannot be compared, or MLflow does not accept the URI.
        """
        self.options = options_from(CompareOptions, options)
        super().__init__(self.options, joining=self.options.study is not None)
        several = config if isinstance(config, Sequence) and not isinstance(config, str) else [config]
        self._experiments = [_question(config_given(one), self.options) for one in several]
        if self.options.target is not None:
            _check_target(self.options.target, [config for config, _, _ in self._experiments])
        self.verdicts: dict[str, Verdicts] = {}
        """Contest's name -> its verdicts, of the contests that have been judged."""
        self.note = ""
        """The reason why the critical-difference picture was not drawn; empty if it was."""
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """From the beginning to the last verdicts, without the wait for MLflow."""
        return self._seconds or time.monotonic() - self._began

    @property
    def result(self) -> Result:
        """The object that `cnnlab compare --json` prints."""
        from cnnlab.comparison.report import comparison_result

        return comparison_result(self.verdicts, self.seconds, one=len(self._experiments) == 1)

    def check(self) -> None:
        """Name the studies and check them; writes only the data cache.

        Raises:
            BadInput: --rope needs a library that is missing, workloads differ in their arms, two workloads are the
                same, or an arm's sweep is invalid.
        """
        from cnnlab.comparison.rope import check_installed
        from cnnlab.search.preview import checked_on_data

        if self.options.rope:
            check_installed()
        contests = [self._contest(number) for number in range(len(self._experiments))]
        _check_workloads(contests)
        self._open_for(contests)
        for contest in contests:
            for arm, plans in contest.plans.items():
                checked = checked_on_data(plans[0])  # the other tunings have the same space and the same images
                contest.plans[arm] = tuple(replace(plan, doubts=checked.doubts) for plan in plans)

    def __iter__(self) -> "Iterator[SweepState]":
        """Work until all is trained or `stop` is called; yields the state of an arm's sweep each time it changes."""
        with self._entered():
            if not self.contests:
                self.check()
            for contest in self.contests:
                if not self.stopped:
                    yield from self.tune(contest)
                    self.judge(contest)
            self.conclude()

    def estimate(self) -> tuple[int, float]:
        """The number of trainings of all contests, and their seconds, estimated from the beginning of one of each.

        Call it after `check`.
        """
        from cnnlab.search.preview import trial_seconds

        trainings = [contest.trainings for contest in self.contests]
        each = [trial_seconds(contest.first.with_threads(self.workers.threads).config) for contest in self.contests]
        seconds = sum(count * (one + FIXED_SECONDS) for count, one in zip(trainings, each, strict=True))
        return sum(trainings), seconds / self.workers.number

    def judge(self, contest: "Contest") -> "Verdicts":
        """Judge the trainings that have ended; write the report, the mean curves and the comparison's last record."""
        from cnnlab.comparison.contests import NOT_ALL, is_done, verdicts_of
        from cnnlab.comparison.paper import write_paper
        from cnnlab.comparison.recorded import comparison_ended, look_at, write_mean_curves
        from cnnlab.comparison.report import write_report
        from cnnlab.comparison.rope import with_rope

        assert self._run is not None
        design = Design(contest.tunings, contest.trials, contest.seeds)
        verdicts = verdicts_of(contest, str(self.workers), look_at(self._run, design))
        if self.options.rope:
            verdicts = with_rope(verdicts)
        if self.options.null:
            words = f"Both arms are {self.options.null}, on other seeds: a verdict of better or worse is a false alarm"
            verdicts = replace(verdicts, caveats=(words, *verdicts.caveats))
        done = all(is_done(plan) for plans in contest.plans.values() for plan in plans)
        if not done:
            verdicts = replace(verdicts, warnings=(NOT_ALL,))
        if self._journal:
            if done or not self.stopped:
                write_report(verdicts, contest.folder / "report", contest.untuned_runs)
                if self.options.paper:
                    write_paper(verdicts, contest, contest.folder / "report")
            for curve in write_mean_curves(verdicts, contest, self._run) if done else []:
                self.deliveries.add(curve)
            self._journal.write(comparison_ended(verdicts, contest, "" if done else NOT_ALL))
        self.verdicts[contest.name] = verdicts
        self._end(None)
        return verdicts

    def conclude(self) -> Path | None:
        """Draw the pictures over several workloads, beside the report of the first; returns the performance profile's
        path."""
        from cnnlab.comparison.figures import draw_profile
        from cnnlab.comparison.workloads import draw_critical_difference, times_to_target

        self._seconds = time.monotonic() - self._began
        if len(self._experiments) == 1:
            return None
        workloads, folder = list(self.verdicts.values()), self.contests[0].folder / "report"
        _, self.note = draw_critical_difference(workloads, folder)
        return draw_profile(times_to_target(workloads, "seconds"), folder)

    def _contest(self, number: int) -> "Contest":
        from cnnlab.comparison.contests import make_contest
        from cnnlab.run import prepare

        config, question, arms = self._experiments[number]
        alone = self.options.study is None or len(self._experiments) == 1
        prepared = prepare(config)
        contest = make_contest(
            prepared.config,
            question,
            [replace(arm, config=prepare(arm.config).config) for arm in arms],
            self.options,
            name=self.options.study if alone else f"{self.options.study}-{number + 1}",
            experiment=self.experiment_name,
            tracking_uri=self.tracking_uri,
        )
        if not contest.score.counts_samples:
            return contest
        dataset = prepared.dataset
        return replace(contest, test_size=len(dataset.test), chance=1 / len(dataset.classes))


def _check_target(target: float, configs: Sequence[RunConfig]) -> None:
    for config in configs:
        try:
            config.task.metric.check_target(target)
        except ValueError as error:
            raise BadInput(f"--target {target:g}: {error}") from None


def _question(config: RunConfig, options: CompareOptions) -> tuple[RunConfig, str, list[Arm]]:
    """The experiment, the question (`optimizer`, or the setting that is compared), and the arms."""
    optimizers, over = options.optimizers, options.over
    if options.null:
        optimizers = {options.null: {}, f"{options.null}{AGAIN}": {"name": options.null}}
    if isinstance(optimizers, Mapping):
        config, optimizers = config.model_copy(update={"compare": dict(optimizers)}), None
    elif optimizers is not None and not isinstance(optimizers, str):
        optimizers = ",".join(optimizers)
    if isinstance(over, Mapping):
        over = ";".join(f"{path}={','.join(map(json.dumps, values))}" for path, values in over.items())
    return config, *read_arms(config, optimizers, over, options.design.trials, tuned=options.tune != "none")


def _check_workloads(contests: "Sequence[Contest]") -> None:
    arms = {tuple(contest.plans) for contest in contests}
    if len(arms) > 1:
        raise BadInput(f"--workload: each must have the same arms, but got {' and '.join(map(str, sorted(arms)))}")
    if len({contest.name for contest in contests}) < len(contests):
        raise BadInput("--workload: two of them are the same experiment; give each once")
