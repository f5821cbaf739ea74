"""KerasTuner over Keras's `fit`; the backend is KERAS_BACKEND's."""

from typing import Any

import keras_tuner

from benchmarks.contestants import keras_
from benchmarks.contestants.job import Outcome
from benchmarks.searchers.common import CONFIGS, Found, Sixteen, main


class Tuner(keras_tuner.Tuner):
    """Each point of the grid by `model.fit`."""

    def __init__(self, asked: Sixteen) -> None:
        self.asked = asked
        self.outcomes: dict[int, Outcome] = {}
        space = keras_tuner.HyperParameters()
        space.Choice("trial", list(range(len(CONFIGS))))
        oracle = keras_tuner.oracles.GridSearchOracle(
            objective=keras_tuner.Objective("accuracy", "max"), max_trials=len(CONFIGS), hyperparameters=space
        )
        super().__init__(oracle=oracle, directory=asked.scratch, project_name="benchmark")

    def run_trial(self, trial: Any) -> dict[str, float]:
        index = trial.hyperparameters.get("trial")
        self.outcomes[index] = keras_.run(self.asked.job(CONFIGS[index]))
        return {"accuracy": self.outcomes[index].accuracy}


def run(asked: Sixteen) -> Found:
    tuner = Tuner(asked)
    tuner.search()
    outcomes = [tuner.outcomes[index] for index in range(len(CONFIGS))]
    return Found([outcome.accuracy for outcome in outcomes], sum(outcome.images for outcome in outcomes))


if __name__ == "__main__":
    main(run)
