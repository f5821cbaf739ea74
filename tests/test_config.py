"""Reading a config: precedence, YAML as people write it, and what is said of a wrong one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cnnlab.config import RunConfig, flat, parse_yaml, read_config, to_yaml
from cnnlab.config.messages import SYNONYMS, settings
from cnnlab.config.optimizers import Adam
from cnnlab.config.reading import dump_yaml
from cnnlab.errors import BadInput


def write(text: str) -> Path:
    path = Path("experiment.yaml")
    path.write_text(text)
    return path


def test_the_defaults_are_those_of_the_design() -> None:
    config, _ = read_config(None, {})
    values = flat(config)
    assert values["data.dataset"] == "digits"
    assert (values["data.batch_size"], values["data.val_fraction"]) == ("auto", 0.1)
    assert (values["model.name"], values["model.channels"], values["model.hidden"]) == ("cnn", [16, 32], [128])
    assert (values["optimizer.name"], values["optimizer.lr"], values["optimizer.momentum"]) == ("sgd", 0.05, 0.9)
    assert (values["schedule.name"], values["training.epochs"], values["training.seed"]) == ("cosine", 10, 0)


def test_a_flag_wins_over_the_file_and_the_file_over_the_default() -> None:
    file = write("optimizer: {lr: 0.2, momentum: 0.5}\n")
    config, _ = read_config(file, {"optimizer.lr": 0.3})
    assert flat(config)["optimizer.lr"] == 0.3
    assert flat(config)["optimizer.momentum"] == 0.5
    assert flat(config)["optimizer.weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("3", 3),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("2E3", 2000.0),
        ("none", "none"),
        ("[1, 2]", [1, 2]),
        ("1.2.3", "1.2.3"),
        ("064", 64),
        ("010", 10),
        ("-08", -8),
        ("+7", 7),
        ("012.50", 12.5),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("0b11", "0b11"),
        ("0o17", "0o17"),
        ("1_0.5", "1_0.5"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("True", True),
        ("false", False),
        (".inf", float("inf")),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
    ],
)
def test_values_read_as_people_mean_them(text: str, value: object) -> None:
    assert parse_yaml(text) == value
    assert type(parse_yaml(text)) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_that_python_prints_is_read_back(number: float) -> None:
    assert parse_yaml(repr(number)) == number


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.dictionaries(st.text(), st.recursive(PLAIN, st.lists, max_leaves=5)))
def test_plain_data_is_read_back_exactly_whatever_it_looks_like(data: dict[str, object]) -> None:
    read = parse_yaml(dump_yaml(data))
    assert read == data
    assert repr(read) == repr(data), "an integer is no float, and -0.0 is not 0.0"


ODD = r"[-+]?[0-9_]{1,6}|0[xob][0-9a-f]{1,4}|[0-9]{1,2}(:[0-9]{1,2}){1,2}|[yYnNoOfF][a-z]{0,4}"


@given(st.from_regex(ODD, fullmatch=True))
def test_text_is_text_to_other_readers_of_yaml_too(text: str) -> None:
    assert yaml.safe_load(dump_yaml({"name": text})) == {"name": text}
    assert parse_yaml(dump_yaml({"name": text})) == {"name": text}


@given(st.from_regex(r"[-+]?[0-9]{1,30}", fullmatch=True))
def test_a_number_that_people_type_is_decimal(text: str) -> None:
    assert parse_yaml(text) == int(text, 10)


@pytest.mark.parametrize(
    "name", ["sgd", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "nadam", "radam", "muon", "torch.optim.Adamax"]
)
def test_the_resolved_yaml_reads_back_as_the_same_config(name: str) -> None:
    config, _ = read_config(None, {"optimizer.name": name, "data.augment": ["flip"], "model.channels": [8]})
    assert read_config(write(to_yaml(config)), {})[0] == config


@pytest.mark.parametrize("text", ["1e3", ".5", "1:30", "2026-11-23", "null", "yes", "\udcff"])
def test_text_that_looks_like_something_else_reads_back_as_text(text: str) -> None:
    config, _ = read_config(None, {"name": text, "data.dataset": "folder", "data.root": text})
    assert read_config(write(to_yaml(config)), {})[0] == config


def test_another_optimizer_on_the_command_line_leaves_the_files_foreign_settings_out_and_says_so() -> None:
    file = write("optimizer: {name: sgd, lr: 0.01, momentum: 0.5}\n")
    config, notes = read_config(file, {"optimizer.name": "adam"})
    assert config.optimizer.lr == 0.01
    assert notes == ["optimizer.momentum of the file is left out: adam has none"]


def test_a_folder_that_a_built_in_dataset_does_not_read_is_refused() -> None:
    for dataset in ("digits", "shapes"):
        with pytest.raises(BadInput, match=rf"^data.root: {dataset} is built in and reads no folder; for images"):
            read_config(None, {"data.dataset": dataset, "data.root": "pictures"})
    with pytest.raises(BadInput, match=r"^data.root: digits is built in"):
        read_config(write("data: {root: pictures}"), {})
    assert read_config(None, {"data.dataset": "mnist", "data.root": "kept"})[0].data.root == "kept"
    config, notes = read_config(write("data: {dataset: folder, root: pictures}"), {"data.dataset": "digits"})
    assert config.data.root is None
    assert notes == ["data.root of the file is left out: digits has none"]


def test_a_foreign_setting_on_the_command_line_is_refused() -> None:
    with pytest.raises(BadInput, match="adam has no momentum; it takes"):
        read_config(None, {"optimizer.name": "adam", "optimizer.momentum": 0.5})


IDLE = [
    ({"data.mixup_alpha": 0.4}, {"data.augment": ["flip"]}, {"data.augment": ["mixup"]}),
    ({"data.depth": 2}, {}, {"data.dataset": "folder"}),
    ({"data.pattern": "([a-z]+)_"}, {"data.dataset": "mask_folder"}, {"data.dataset": "folder"}),
    ({"data.colours": {"a": "#000000", "b": "#ffffff"}}, {}, {"data.dataset": "mask_folder"}),
    ({"data.skip_broken": True}, {"data.dataset": "mnist"}, {"data.dataset": "mask_folder"}),
    ({"data.allow_conflicting_labels": True}, {}, {"data.dataset": "folder"}),
    ({"model.init_std": 0.1}, {"model.init": "he_normal"}, {"model.init": "normal"}),
    ({"model.init_std": 0.1}, {"model.name": "vgg11"}, {"model.name": "resnet18", "model.init": "normal"}),
    ({"model.pool_size": 3}, {"model.pool": "none"}, {"model.pool": "avg"}),
    ({"model.pool_stride": 1}, {"model.pool": "none"}, {"model.pool": "max"}),
    ({"model.padding_mode": "reflect"}, {"model.padding": 0}, {"model.padding": 2}),
    ({"model.dilation": 2}, {"model.kernel_size": 1}, {"model.kernel_size": 3}),
    ({"model.groups": 2}, {"model.channels": [8]}, {"model.channels": [8, 8]}),
    ({"model.dropout": 0.5}, {"model.hidden": []}, {"model.name": "alexnet"}),
    ({"model.hidden_norm": "batch"}, {"model.name": "mlp", "model.hidden": []}, {"model.name": "mlp"}),
    ({"optimizer.dampening": 0.5}, {"optimizer.momentum": 0.0}, {"optimizer.momentum": 0.9}),
]


@pytest.mark.parametrize(("setting", "without", "with_it"), IDLE)
def test_a_setting_without_effect_is_refused(
    setting: dict[str, Any], without: dict[str, Any], with_it: dict[str, Any]
) -> None:
    ((path, value),) = setting.items()
    with pytest.raises(BadInput, match=rf"^{path}: .* has no effect with .*; leave it out or change (model|data|opt)"):
        read_config(None, {**without, **setting})
    assert flat(read_config(None, {**with_it, **setting})[0])[path] == value


def test_a_files_setting_that_loses_its_effect_is_left_out_with_a_note() -> None:
    file = write("model: {pool: avg, pool_size: 3}\n")
    config, notes = read_config(file, {"model.pool": "none"})
    assert config == read_config(None, {"model.pool": "none"})[0]
    assert notes == ["model.pool_size of the file is left out: 3 has no effect with model.pool 'none'"]
    with pytest.raises(BadInput, match=r"^model.pool_size: 3 has no effect"):
        read_config(write("model: {pool: none, pool_size: 3}\n"), {})


def test_a_setting_that_is_given_twice_is_refused_by_whatever_names() -> None:
    for twice in (
        {"optimizer.lr": 0.1, "optimizer": {"lr": 0.2}},
        {"place.threads": 1, "place": {"threads": 2}},
    ):
        with pytest.raises(BadInput, match=r"^(optimizer.lr|place.threads) is given twice, by .* and by .*; keep one$"):
            read_config(None, twice)


NAMES = """
data: {dataset: Shapes, augment: [Flip, CutOut], batch_size: Full}
model: {name: CNN, activation: ReLU, norm: Batch, init: He_Normal, pool: AVG, padding: Valid}
optimizer: {name: Adam}
schedule: {name: OneCycle}
loss: {name: Cross_Entropy}
task: {name: Classification, score: Accuracy}
training: {precision: FP32}
"""


def test_names_are_compared_without_regard_to_case() -> None:
    small = read_config(write(NAMES.lower()), {})[0]
    assert read_config(write(NAMES), {})[0] == small
    assert read_config(None, parse_yaml(NAMES))[0] == small
    assert small.optimizer == Adam(), "cnnlab's own, not torch's class of that name"
    assert read_config(write("data: {dataset: Shapes_Masks}"), {"model.name": "UNet"})[0].task.name == "segmentation"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizer.name": "Rprop"}, "torch.optim.NAME; did you mean torch.optim.Rprop?"),
        ({"optimizer.name": "asgd"}, "did you mean torch.optim.ASGD?"),
        ({"model.name": "VGG16_BN"}, "did you mean torchvision/vgg16_bn?"),
        ({"model.name": "LeNet-5"}, "did you mean lenet5?"),
        ({"model.channels": "16,32"}, "must be a list; did you mean [16,32]?"),
        ({"model.hidden": 64}, "did you mean [64]?"),
        ({"model.activation": "LeakyReLU"}, "did you mean leaky_relu?"),
        ({"loss": "hinge"}, "did you mean loss.name?"),
        ({"place.device": "gpu"}, "did you mean cuda?"),
        ({"learning_rate": 0.1}, "did you mean optimizer.lr?"),
        ({"hidden": [3]}, "did you mean model.hidden?"),
        ({"optimizer.learning_rate": 0.1}, "did you mean lr?"),
        ({"warmup": 1}, "did you mean schedule.warmup_epochs?"),
        ({"schedule.warmup": 1}, "did you mean warmup_epochs?"),
    ],
)
def test_a_near_miss_gets_a_suggestion(given: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_config(None, given)
    assert str(caught.value).endswith(said)


def test_what_is_suggested_for_another_tools_word_exists() -> None:
    for word, meant in SYNONYMS.items():
        assert meant in (*settings(), "cuda")
        assert word not in {path.rpartition(".")[2] for path in settings()}, "it is a setting's own name here"


FILES = [
    ("optimizer: {lr: 0.1, lr: 0.2}", "line 1: the key lr is repeated"),
    ("optimizer: !!python/object/apply:os.system ['touch built']", "could not determine a constructor"),
    ("data: [1, 2", "not valid YAML: line 1"),
    ("- a\n- b\n", "an experiment is a mapping of settings"),
    ("just words", "an experiment is a mapping of settings"),
    ("3: 4", "a key must be a word, but got 3"),
    ("optimiser: {lr: 0.1}", "did you mean optimizer?"),
    ("optimizer: {lr: 0.1, momentun: 0.9}", "did you mean momentum?"),
    ("lr: 0.1", "did you mean optimizer.lr?"),
    ("data: {dataset: fashion_mnits}", "did you mean fashion_mnist?"),
    ("model: {name: resnet, channels: [3]}", "'resnet' is unknown; it must be one of"),
    ("optimizer: 3", "it must be a mapping of settings"),
    ("data: {batch_size: 1.5}", "must be a valid integer or 'full'"),
    ("training: {epochs: yes}", "training.epochs: 'yes' is not allowed; it must be a valid integer"),
    ("optimizer: {nesterov: on}", "optimizer.nesterov: 'on' is not allowed; it must be true or false"),
    ("data: {batch_size: 0x10}", "data.batch_size: '0x10' is not allowed; it must be a valid integer or 'full'"),
    ("training: {seed: 1_000}", "training.seed: '1_000' is not allowed; it must be a valid integer"),
    ("schedule: {name: cosine, warmup_epochs: 20}", "warmup_epochs <= training.epochs must hold, but got 20 > 10"),
    ("penalty: {l1: -1}", "penalty.l1: -1 is not allowed; it must be greater than or equal to 0"),
    ("penalty: {l2: .inf}", "penalty.l2: inf is not allowed; it must be a finite number"),
    ("penalty: {l3: 1}", "penalty.l3: unknown setting; known are l1, l2"),
    ("optimizer: {l2: 1}", "optimizer.l2: sgd has no l2; it takes name, lr, body_lr_factor, weight_decay"),
    ("optimizer: {name: muon, decoupled_decay: 0.1}", "muon has no decoupled_decay; it takes"),
    ("optimizer: {decoupled_decay: -1}", "optimizer.decoupled_decay: -1 is not allowed; it must be greater than"),
    ("data: {augment: [mixup], mixup_alpha: 0}", "data.mixup_alpha: 0 is not allowed; it must be greater than 0"),
    ("data: {augment: [mix]}", "did you mean mixup?"),
    ("schedule: {name: linear, final_fraction: 2}", "schedule.final_fraction: 2 is not allowed"),
    ("schedule: {name: polynomial, power: 0}", "schedule.power: 0 is not allowed; it must be greater than 0"),
    ("schedule: {name: exponential, gamma: 0}", "schedule.gamma: 0 is not allowed; it must be greater than 0"),
    ("schedule: {name: cyclic, cycle_epochs: 0}", "schedule.cycle_epochs: 0 is not allowed; it must be greater than"),
    ("schedule: {name: plateau, patience: -1}", "schedule.patience: -1 is not allowed"),
    ("schedule: {name: plateau, threshold: 1}", "schedule.threshold: 1 is not allowed; it must be less than 1"),
    ("schedule: {name: plateu}", "did you mean plateau?"),
    ("schedule: {name: step, max_batch_size: 0}", "schedule.max_batch_size: 0 is not allowed"),
    ("schedule: {name: constant, max_batch_size: 128}", "constant has no max_batch_size; it takes name, warmup_epochs"),
    ("training: {epochs: 1:30}", "training.epochs: '1:30' is not allowed; it must be a valid integer"),
    ("search: &a {lr: *a}", "line 1: a value contains itself"),
    ("search: {lr: &a [*a]}", "line 1: a value contains itself"),
    ("optimizer: {name: torch.optim.Rprop, etas: !!binary aGk=}", "line 1: no setting takes YAML's binary"),
    ("search: {lr: [2026-11-23]}", "line 1: no setting takes YAML's timestamp; put it in quotes to make it text"),
    ("search: {lr: !!set {a, b}}", "line 1: no setting takes YAML's set"),
    ("search: {lr: !!omap [a: 1]}", "line 1: no setting takes YAML's omap"),
    ("training: {epochs: !!bool maybe}", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "said"), FILES, ids=[text for text, _ in FILES])
def test_a_wrong_file_is_one_line_that_names_it(text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_config(write(text), {})
    assert said in str(caught.value)
    assert str(caught.value).startswith("experiment.yaml: ")
    assert "\n" not in str(caught.value)
    assert not Path("built").exists()


def test_a_missing_file_and_one_that_is_no_text() -> None:
    with pytest.raises(BadInput, match="there is no such file"):
        read_config(Path("nowhere.yaml"), {})
    Path("pictures").mkdir()
    with pytest.raises(BadInput, match=r"picturs: there is no such file or folder; did you mean pictures[?]$"):
        read_config(Path("picturs/"), {})
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot be read as text"):
        read_config(Path("binary.yaml"), {})


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/urandom"])
def test_what_is_neither_a_file_nor_a_pipe_is_refused(path: str) -> None:
    with pytest.raises(BadInput, match=r"^/dev/.*: neither a file nor a pipe"):
        read_config(Path(path), {})


def test_a_file_that_is_too_large_is_refused() -> None:
    with Path("large.yaml").open("wb") as file:
        file.truncate(2**40)  # a file with a hole, which takes no room
    with pytest.raises(BadInput, match=r"^large.yaml: larger than 1 MiB; an experiment is a YAML file of settings$"):
        read_config(Path("large.yaml"), {})
    Path("large.yaml").write_text("name: x\n#" + "x" * (2**20 - 10))
    assert read_config(Path("large.yaml"), {})[0].name == "x"


def test_an_experiment_comes_through_a_pipe() -> None:
    words = f"{sys.executable} -m cnnlab train <(sleep 0.5; echo 'optimizer: {{lr: 0.25}}') --dry-run"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)
    assert "lr: 0.25" in done.stdout
    endless = subprocess.run(["bash", "-c", words.replace("sleep 0.5", "yes")], capture_output=True, text=True)
    assert (endless.returncode, endless.stderr.count("\n")) == (2, 1)
    assert "larger than 1 MiB" in endless.stderr


def test_a_pipe_that_nobody_writes_to_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.config.reading.PATIENCE", 0.1)
    os.mkfifo("pipe")
    with pytest.raises(BadInput, match=r"^pipe: nobody has written to this pipe for 0.1 s$"):
        read_config(Path("pipe"), {})


def test_the_search_ranges_are_no_setting_of_a_run() -> None:
    config = RunConfig(search={"lr": {"low": 0.1, "high": 1}})
    assert not any(key.startswith("search") for key in flat(config))
