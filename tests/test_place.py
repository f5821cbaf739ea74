"""Where a run happens is no part of what it is; and the names that settings had before are read for ever."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cnnlab.config import RunConfig, as_config, flat, flatten, read_config, to_yaml
from cnnlab.config.arms import read_arms
from cnnlab.config.moved import MOVED
from cnnlab.config.space_reading import read_space
from cnnlab.errors import BadInput

# as the version before the section `place` wrote them, in a study's attributes and in the names of studies
BEFORE: dict[str, Any] = json.loads((Path(__file__).parent / "data/identity_before_place.json").read_text())
NAMES = {"sweep": "digits-cnn-533b57", "mlp": "digits-mlp-ceedb1", "compare": "compare-digits-cnn-e0eaf6"}
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
    with pytest.raises(BadInput, match=r"^training.device: it is place.device now, which is given too; leave one"):
        as_config({"training": {"device": "cpu"}, "place": {"device": "cuda"}})
    with pytest.raises(BadInput, match=r"^place.device: 'gpu' is not allowed"):
        as_config({"training": {"device": "gpu"}})


@pytest.mark.parametrize("path", [*MOVED, *MOVED.values(), "device"])
def test_a_place_is_neither_searched_nor_compared(path: str) -> None:
    with pytest.raises(BadInput, match="cannot be searched: it is where"):
        read_space(RunConfig(), (f"{path}=1,2",))
    with pytest.raises(BadInput, match="cannot be compared: it is where"):
        read_arms(RunConfig(), None, f"{path}=1,2", 8)


def test_two_places_are_one_study_which_is_named_as_ever() -> None:
    from cnnlab.comparison.contests import make_contest

    assert plan(**ELSEWHERE).identity() == plan().identity()
    assert plan(training__epochs=11).identity() != plan().identity()
    assert plan(**ELSEWHERE).default_study() == NAMES["sweep"]
    assert plan(optimizer__name="adam", model__name="mlp").default_study() == NAMES["mlp"]
    question, arms = read_arms(RunConfig(), None, None, 8)
    options: dict[str, str | None] = dict.fromkeys(("margin", "target", "name", "storage"))
    options |= {"sampler": "qmc", "experiment": "e", "tracking_uri": "none"}
    contest = make_contest(RunConfig(), question, arms, trials=8, seeds=5, **options)  # type: ignore[arg-type]
    assert contest.name == NAMES["compare"]


def test_a_study_of_an_earlier_version_is_joined() -> None:
    from cnnlab.search.studies.slots import IDENTITY
    from cnnlab.search.studies.study import enter, open_or_make, stored_plan

    mine = replace(plan(**ELSEWHERE), study="old", storage=str(Path("old.journal").absolute()))
    open_or_make("old", mine.storage, mine.score).set_user_attr(IDENTITY, BEFORE)
    assert enter(mine)[0].study == "old"
    assert stored_plan("old", mine.storage) is not None
    with pytest.raises(BadInput, match=r"made for something else: config.optimizer.lr: 0.05 there, 0.1 here"):
        enter(replace(mine, config=plan(optimizer__lr=0.1).config))


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
