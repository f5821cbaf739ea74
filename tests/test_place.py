"""The place of a run is not part of its identity."""

from pathlib import Path
from typing import Any

import pytest

from cnnlab.config import RunConfig, read_config
from cnnlab.config.arms import read_arms
from cnnlab.config.commands import SweepOptions
from cnnlab.config.space_reading import read_space
from cnnlab.errors import BadInput

ELSEWHERE = {"place.device": "cpu", "place.threads": 2, "place.workers": 1, "place.residence": "stream"}


def plan(**settings: Any) -> Any:
    from cnnlab.search.plan import Plan

    config, _ = read_config(None, {key.replace("__", "."): value for key, value in settings.items()})
    return Plan.of(config, read_space(config), SweepOptions())


@pytest.mark.parametrize("path", [*ELSEWHERE, "device"])
def test_a_place_is_neither_searched_nor_compared(path: str) -> None:
    with pytest.raises(BadInput, match="cannot be searched: it says where"):
        read_space(RunConfig(), (f"{path}=1,2",))
    with pytest.raises(BadInput, match="cannot be compared: it says where"):
        read_arms(RunConfig(), None, f"{path}=1,2", 8)


def test_two_places_are_one_study() -> None:
    assert plan(**ELSEWHERE).identity() == plan().identity()
    assert plan(**ELSEWHERE).default_study() == plan().default_study()
    assert plan(training__epochs=11).identity() != plan().identity()
    assert plan(training__epochs=11).default_study() != plan().default_study()


def test_a_run_goes_on_at_another_place() -> None:
    from cnnlab.run import config_to_resume, create_run

    run = create_run(read_config(None, {"place.device": "cpu"})[0], "e", "none", Path("run"))
    as_made = run.config_file.read_text()
    run.config_file.write_text(as_made.replace("threads: null", "threads: 2"))
    config = config_to_resume(run, {"place.residence": "stream"})
    assert (config.place.device, config.place.threads, config.place.residence) == ("cpu", 2, "stream")
    run.config_file.write_text(as_made.replace("epochs: 10", "epochs: 11"))
    with pytest.raises(BadInput, match=r"^training.epochs: .* says 11, but this run was made with 10"):
        config_to_resume(run, {})
