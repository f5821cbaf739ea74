"""Where a run happens is no part of what it is; and the names that settings had before are read for ever."""

from pathlib import Path
from typing import Any

import pytest

from cnnlab.config import RunConfig, as_config, flat, flatten, read_config, to_yaml
from cnnlab.config.arms import read_arms
from cnnlab.config.moved import MOVED
from cnnlab.config.space_reading import read_space
from cnnlab.errors import BadInput

ELSEWHERE = {"place.device": "cpu", "place.threads": 2, "place.workers": 1, "place.residence": "stream"}


def plan(**settings: Any) -> Any:
    from cnnlab.search.plan import Plan

    config, _ = read_config(None, {key.replace("__", "."): value for key, value in settings.items()})
    return Plan(config=config, space=read_space(config))


def test_the_old_names_are_read_in_files_in_journals_and_on_the_command_line() -> None:
    old = "training: {device: cpu, threads: 2, epochs: 3}\ndata: {workers: 1, residence: stream}\n"
    Path("old.yaml").write_text(old)
    config, _ = read_config(Path("old.yaml"), {})
    assert {path: flat(config)[path] for path in ELSEWHERE} == ELSEWHERE
    assert config.training.epochs == 3
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config
    assert flatten({"training": {"device": "cpu"}}) == {"place.device": "cpu"}
    for before, now in MOVED.items():
        assert read_config(Path("old.yaml"), {before: flat(RunConfig())[now]}) == (
            read_config(Path("old.yaml"), {now: flat(RunConfig())[now]})
        )
    Path("new.yaml").write_text(to_yaml(config))
    assert read_config(Path("new.yaml"), {})[0] == config
    assert "device" not in to_yaml(config).partition("training:")[2].partition("place:")[0]


def test_a_setting_that_is_given_by_both_names_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^training.device: it was renamed to place.device; both are given, keep one"):
        as_config({"training": {"device": "cpu"}, "place": {"device": "cuda"}})
    with pytest.raises(BadInput, match=r"^place.device: 'gpu' is not allowed"):
        as_config({"training": {"device": "gpu"}})


@pytest.mark.parametrize("path", [*MOVED, *MOVED.values(), "device"])
def test_a_place_is_neither_searched_nor_compared(path: str) -> None:
    with pytest.raises(BadInput, match="cannot be searched: it is where"):
        read_space(RunConfig(), (f"{path}=1,2",))
    with pytest.raises(BadInput, match="cannot be compared: it is where"):
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
