"""The lab: trains the arms of claims on paired seeds, measures them, and keeps what was measured with its verdict."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cnnlab.comparison.contest_work import ContestWork
from cnnlab.config.arms import Arm
from cnnlab.config.commands import CompareOptions, WorkerOptions, options_from
from cnnlab.config.space import Space
from cnnlab.errors import BadInput, RunFailed
from cnnlab.files import written_whole
from cnnlab.lab.claim import Claim
from cnnlab.lab.judgement import Judgement, Values, judge
from cnnlab.result import Result
from cnnlab.tracking import studies_root

if TYPE_CHECKING:
    from cnnlab.comparison.contests import Contest
    from cnnlab.lab.measures import Ended
    from cnnlab.search.workers import SweepState

RESULT_FILE, FIGURE_FILE = "claim.json", "claim.png"
"""In the folder of a claim's study: what was measured, and its figure."""


@dataclass(frozen=True)
class Finding:
    """What was measured for a claim."""

    values: Values
    resolutions: Mapping[str, float]
    seconds: float
    """Of the work on it, measurement included; of the command that finished its trainings."""
    load: float
    """The machine's load average at its end; more than it has cores if other work ran beside it."""


def folder_of(claim: Claim) -> Path:
    """Of its results; its arms' studies have folders beside it."""
    return (studies_root() / claim.study).absolute()


def finding_of(claim: Claim) -> Finding | None:
    """What the last command measured for the claim; None if it has not been run by this version."""
    with suppress(FileNotFoundError, TypeError, ValueError):  # TypeError: it has other fields
        return Finding(**json.loads((folder_of(claim) / RESULT_FILE).read_text()))
    return None


def judgement_of(claim: Claim) -> Judgement | None:
    """The verdict on what the last command measured; None if it has not measured all that the claim expects now."""
    finding, asked = finding_of(claim), [(part.measure, {*part.names}) for part in claim.expect]
    if finding is None or any(not arms <= finding.values.get(measure, {}).keys() for measure, arms in asked):
        return None
    return judge(claim, finding.values, finding.resolutions)


class Lab(ContestWork):
    """Claims that are tested one after the other. Iterate over it to test all, or `test` one by one after `check`."""

    def __init__(self, claims: Sequence[Claim], **options: Any) -> None:
        """The same claims again continue what was stopped.

        Args:
            claims: as `cnnlab.lab.claim.read_claim` reads them.
            options: the fields of `cnnlab.config.commands.WorkerOptions`.

        Raises:
            BadInput: an option is invalid, or MLflow does not accept the URI.
        """
        super().__init__(options_from(WorkerOptions, options))
        self.claims = list(claims)
        self._contests: dict[str, Contest] = {}

    @property
    def result(self) -> Result:
        """The object that `cnnlab lab run --json` prints."""
        return Result({"claims": [as_json(claim) for claim in self.claims]})

    def check(self) -> None:
        """Build each arm's network on its data; writes only the data cache.

        Raises:
            BadInput: an arm cannot be trained here, for example because its data is missing; or it cannot be measured
                as the claim asks.
        """
        arms = {claim.study: _checked_arms(claim) for claim in self.claims}
        self._contests = {
            claim.study: self._contest(claim, arms[claim.study]) for claim in self.claims if not claim.exact
        }
        if self._contests:
            self._open_for(list(self._contests.values()))

    def __iter__(self) -> "Iterator[SweepState]":
        with self._entered():
            if not self._contests:
                self.check()
            for claim in self.claims:
                if not self.stopped:
                    yield from self.test(claim)

    def test(self, claim: Claim) -> "Iterator[SweepState]":
        """Train what is left of a claim, measure it and write its result; if stopped, without a result."""
        from cnnlab.lab.lab_figure import draw_claim

        began, contest = time.monotonic(), self._contests.get(claim.study)
        if contest:
            yield from self.tune(contest)
        if not self.stopped:
            runs = runs_of(claim, contest) if contest else {}
            measured, before = measure(claim, runs), finding_of(claim)  # it is measured again, not trained again
            spent = (before.seconds, before.load) if before else (time.monotonic() - began, os.getloadavg()[0])
            finding = Finding(*measured, *spent)
            folder_of(claim).mkdir(parents=True, exist_ok=True)
            with written_whole(folder_of(claim) / RESULT_FILE) as path:
                path.write_text(json.dumps(vars(finding), indent=1))
            judgement = judge(claim, finding.values, finding.resolutions)
            draw_claim(claim, finding.values, judgement, runs, folder_of(claim) / FIGURE_FILE)
        self._close(claim)

    def _close(self, claim: Claim) -> None:
        """Write the last record of the claim's run, with the verdict."""
        from cnnlab.comparison.contests import NOT_ALL
        from cnnlab.records import ComparisonEnded

        if self._journal:
            judgement = None if self.stopped else judgement_of(claim)
            self._journal.write(
                ComparisonEnded(
                    time=time.time(),
                    status="finished" if judgement else "interrupted",
                    reason="" if judgement else NOT_ALL,
                    scores={},
                    ranking=(),
                    verdict=judgement.word if judgement else "",
                    claim=claim.claim,
                    tunings=1,
                    trials=1,
                    seeds=claim.seeds - 1,
                )
            )
        self._end(None)

    def _contest(self, claim: Claim, arms: list[Arm]) -> "Contest":
        """A contest without tuning. Its first seed is that of trial 0, the others are those of the confirmation."""
        from cnnlab.comparison.contests import make_contest

        return make_contest(
            next(iter(claim.arms.values())),
            "arms",
            arms,
            CompareOptions(tune="none", seeds=claim.seeds - 1),
            name=claim.study,
            experiment=self.experiment_name,
            tracking_uri=self.tracking_uri,
        )


def _checked_arms(claim: Claim) -> list[Arm]:
    """The claim's trainings. Raises BadInput if one cannot be trained here, or not be measured as the claim asks."""
    from cnnlab.lab.measures import check_measurable
    from cnnlab.run import prepare

    arms = []
    for arm, trainings in claim.trainings.items():
        parts = [part for part in claim.expect if arm in part.names]
        for name, config in trainings:
            network = prepare(config)
            for part in parts:
                try:
                    check_measurable(*part.call, network)
                except ValueError as error:
                    raise BadInput(f"claim {claim.name}: arm {name}: expect.{part.measure}: {error}") from None
            arms.append(Arm(name, network.config, Space(())))
    return arms


def runs_of(claim: Claim, contest: "Contest") -> dict[str, list[list["Ended"]]]:
    """Arm -> seed -> its runs, which have ended: one, or one per value of `over`."""
    from cnnlab.lab.measures import Ended
    from cnnlab.search.stages import Search, confirmation_of
    from cnnlab.tracking import RunDir

    def of(name: str) -> list[Ended]:
        plan = contest.plans[name][0]
        confirmation = confirmation_of(plan)
        if confirmation is None:
            raise RunFailed(f"{plan.study}: its first training did not end; cnnlab show {plan.study} gives the reason")
        folders = [Search(plan).folder(0), *(confirmation.folder(number) for number in range(confirmation.wanted))]
        return [Ended(RunDir(folder)) for folder in folders]

    return {
        arm: [list(runs) for runs in zip(*(of(name) for name, _ in some), strict=True)]
        for arm, some in claim.trainings.items()
    }


def measure(claim: Claim, runs: Mapping[str, list[list["Ended"]]]) -> tuple[Values, dict[str, float]]:
    """Every measure of the claim, of each arm in its relation; and the measures' resolutions.

    Args:
        runs: arm -> seed -> its runs.
    """
    from cnnlab.lab.measures import exactly, measured, resolution

    values: dict[str, dict[str, list[float | None]]] = {}
    resolutions: dict[str, float] = {}
    for part in claim.expect:
        (name, numbers), of = part.call, values.setdefault(part.measure, {})
        for arm in part.names:
            if part.exact:
                of[arm] = [exactly(name, claim.arms[arm])]
            elif arm not in of:
                of[arm] = [_mean([measured(name, numbers, run) for run in some]) for some in runs[arm]]
                resolutions[part.measure] = resolution(name, runs[arm][0][0]) / len(runs[arm][0])
    return values, resolutions


def _mean(values: list[float | None]) -> float | None:
    """None if one is missing."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def as_json(claim: Claim) -> dict[str, Any]:
    """A claim with its last verdict, for --json."""
    finding, judgement = finding_of(claim), judgement_of(claim)
    return {
        "name": claim.name,
        "claim": claim.claim,
        "section": claim.section,
        "quick": claim.quick,
        "seeds": claim.seeds,
        "verdict": judgement and judgement.word,
        "parts": [
            {"measure": part.expectation.measure, "relation": part.expectation.relation}
            | {key: value for key, value in vars(part).items() if key != "expectation"}
            for part in (judgement.parts if judgement else ())
        ],
        **(vars(finding) if finding else {}),
        "study": claim.study,
    }
