"""The lab: claim files, measures, verdicts both ways, and one claim through the command line."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file
from scipy import stats

from cnnlab.config import RunConfig, changed
from cnnlab.config.commands import SweepOptions
from cnnlab.config.space import Space
from cnnlab.errors import BadInput
from cnnlab.intervals import ALPHA
from cnnlab.lab import Lab, measures
from cnnlab.lab.claim import Claim, find_claims, read_claim
from cnnlab.lab.judgement import judge
from cnnlab.lab.laboratory import judgement_of, measure
from cnnlab.lab.measures import Ended
from cnnlab.records import Epoch, Norms, Steps
from cnnlab.run import create_run, prepare, record_run
from cnnlab.search.plan import Plan
from cnnlab.search.slots import IDENTITY
from cnnlab.search.study import enter, with_study

CLAIMS = Path(__file__).parents[1] / "experiments" / "claims"
DOCS = CLAIMS.parents[1] / "docs"
FILES = find_claims(CLAIMS)
TINY = {"data.train_size": 64, "data.batch_size": 32, "training.epochs": 4, "training.precision": "fp32"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def _one_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shapes are drawn once."""
    monkeypatch.setenv("CNNLAB_DATA", str(cache))


def smallest(claim: Claim, folder: Path) -> dict[str, list[list[Ended]]]:
    """Each arm trained for four epochs on a few images, on one seed."""
    runs: dict[str, list[list[Ended]]] = {}
    for arm, some in claim.trainings.items():
        runs[arm] = [[]]
        for name, config in some[:1]:
            size = config.data.batch_size
            tiny = TINY if size == "auto" else {**TINY, "data.batch_size": min(size, 16) if size != "full" else size}
            learner = prepare(changed(config, tiny))
            run = create_run(learner.config, "lab", "none", folder / name)
            for _ in record_run(learner, run, tested=False):
                pass
            runs[arm][0].append(Ended(run))
    return runs


@pytest.mark.parametrize("name", FILES)
def test_each_claim_runs_in_its_smallest_form(name: str, tmp_path: Path) -> None:
    claim = read_claim(name, FILES[name], quick=True)
    judgement = judge(claim, *measure(claim, {} if claim.exact else smallest(claim, tmp_path)))
    assert all(part.left is not None and part.right is not None for part in judgement.parts)
    measured = [part for part in judgement.parts if not part.expectation.exact]
    assert {part.word for part in measured} <= {"undecided here"}  # one seed says nothing


def test_a_share_over_six_rates_is_known_to_a_sixth(tmp_path: Path) -> None:
    claim = read_claim("adaptive", FILES["adaptive"])
    six = {arm: [one * 6] for arm, (one,) in smallest(claim, tmp_path).items()}
    _, resolutions = measure(claim, six)
    assert resolutions == {"trains(0.7)": pytest.approx(1 / 6)}


OPPOSITE = {"holds": "does not hold", "does not hold": "holds", "undecided here": "undecided here"}


@pytest.mark.parametrize(
    "found", json.loads((CLAIMS / "../../docs/lab.json").read_text()), ids=lambda each: each["name"]
)
def test_the_page_has_the_verdicts_of_its_numbers(found: dict[str, Any]) -> None:
    claim = read_claim(found["name"], FILES[found["name"]], quick=found["quick"])
    judgement = judge(claim, found["values"], found["resolutions"])
    assert judgement.word == found["verdict"]
    page = (DOCS / "lab.md").read_text().partition(f"\n## {claim.name}\n")[2].partition("\n## ")[0]
    assert f"**{judgement.word.capitalize()}**" in page
    assert all(f"- {part}\n" in page for part in judgement.parts)
    swapped = {
        frozenset(pair): judge(claim, _swapped(found["values"], *pair), found["resolutions"])
        for pair in itertools.combinations(claim.arms, 2)
        if all(len({*pair} & {*arms}) != 1 for arms in found["values"].values())  # each measure has both, or neither
    }
    for number, part in enumerate(judgement.parts):
        sides = frozenset(part.expectation.relation.split(" ")[::2])
        if not part.expectation.exact and sides in swapped:
            assert swapped[sides].parts[number].word == OPPOSITE[part.word]
    if judgement.word.startswith("holds"):
        assert "does not hold" in [each.word for each in swapped.values()]


def _swapped(values: dict[str, dict[str, Any]], one: str, other: str) -> dict[str, dict[str, Any]]:
    """As if each of the two arms had been trained with the other one's settings."""
    names = {one: other, other: one}
    return {measure: {names.get(arm, arm): some for arm, some in arms.items()} for measure, arms in values.items()}


def test_all_claims_of_the_page_are_there() -> None:
    numbers = [int(path.name.partition("-")[0]) for path in FILES.values()]
    assert numbers == list(range(1, 25))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("quick", [False, True])
def test_each_claim_can_come_out_both_ways(name: str, quick: bool) -> None:
    claim = read_claim(name, FILES[name], quick=quick)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1e-4, (len(claim.arms), claim.seeds))
    for number, part in enumerate(claim.expect):
        words = set()
        for levels in itertools.product([0.001, 0.5, 0.95, 0.98, 1.0, 2.0, 5000.0], repeat=len(set(part.names))):
            arms = dict(zip(dict.fromkeys(part.names), levels, strict=True))
            values = {
                other.measure: {
                    arm: [arms.get(arm, 1.0)]
                    if other.exact
                    else [arms.get(arm, 1.0) * (1 + step) for step in noise[at]]
                    for at, arm in enumerate(claim.arms)
                }
                for other in claim.expect
            }
            words.add(judge(claim, values, {}).parts[number].word)
        either = {"holds by arithmetic"} if part.exact else {"holds", "undecided here"}
        assert words >= {"does not hold", *either}, part


def small_claim(folder: Path, **changes: Any) -> Path:
    """A claim that a tiny training decides: a learning rate of 0.1 against one that trains nothing."""
    claim = {
        "claim": "A network learns if its learning rate is not tiny.",
        "section": "Learning Rate",
        "base": {"model": {"name": "perceptron"}, "training": {"epochs": 1}, "data": {"train_size": 300}},
        "arms": {"good": {"optimizer.lr": 0.1}, "tiny": {"optimizer.lr": 1e-9}},
        "expect": {"best_score": "good > tiny"},
        "seeds": 3,
    }
    path = folder / "01-rate.yaml"
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps({**claim, **changes}))
    return path


def test_a_claim_and_its_opposite_through_the_command_line(cli: Callable[..., Result], tmp_path: Path) -> None:
    folder = small_claim(tmp_path / "claims").parent
    where = ("--claims", str(folder))
    run = ("lab", "run", "rate", *where, "--workers", "1", "--tracking-uri", "none")
    first = cli(*run, "--json")
    assert first.exit_code == 0, first.output
    (claim,) = json.loads(first.stdout)["claims"]
    assert claim["verdict"] == "holds"
    values = claim["values"]["best_score"]
    differences = np.subtract(values["good"], values["tiny"])
    interval = stats.ttest_1samp(differences, 0).confidence_interval(1 - 0.025)  # the first look, one pair
    (part,) = claim["parts"]
    if differences.std(ddof=1) > 1 / 144:
        assert (part["ci_low"], part["ci_high"]) == pytest.approx(tuple(interval))
    journals = {path: path.stat().st_mtime_ns for path in Path("mlruns").rglob("seed*/journal.jsonl")}

    small_claim(folder, expect={"best_score": "tiny > good"})  # the same trainings
    assert cli(*run).stdout.startswith("rate: does not hold")
    assert {path: path.stat().st_mtime_ns for path in Path("mlruns").rglob("seed*/journal.jsonl")} == journals
    assert "does not hold" in cli("lab", *where).stdout
    assert cli("lab", "report", "docs", *where).exit_code == 0
    assert "**Does not hold** (3 seeds)" in Path("docs/lab.md").read_text()
    assert Path("docs/images/lab-rate.png").stat().st_size > 1000


def test_the_listing_imports_no_torch(tmp_path: Path) -> None:
    folder = small_claim(tmp_path / "claims").parent
    code = (
        f"import sys; sys.argv = ['cnnlab', 'lab', '--claims', {str(folder)!r}]\n"
        "from cnnlab.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print({'torch', 'optuna', 'mlflow', 'scipy.stats'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
    assert "rate   -      -     A network learns" in done.stdout


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"claim": "Other words.", "note": "Why not.", "expect": {"last_score": "tiny < good"}}, True),
        ({"base": {"model": {"name": "perceptron"}, "training": {"epochs": 2}, "data": {"train_size": 300}}}, False),
        ({"arms": {"good": {"optimizer.lr": 0.2}, "tiny": {"optimizer.lr": 1e-9}}}, False),
        (
            {"arms": {"best": {"optimizer.lr": 0.1}, "tiny": {"optimizer.lr": 1e-9}}, "expect": {"gap": "best > 0"}},
            False,
        ),
        ({"over": {"optimizer.momentum": [0.0, 0.9]}}, False),
        ({"seeds": 4}, False),
        ({"quick": {"seeds": 4}}, True),
    ],
)
def test_only_a_change_of_the_trainings_is_another_study(tmp_path: Path, changes: dict[str, Any], same: bool) -> None:
    before = read_claim("rate", small_claim(tmp_path))
    after = read_claim("rate", small_claim(tmp_path, **changes))
    assert (before.study == after.study) == same


def test_a_setting_that_a_later_version_adds_keeps_the_study_and_a_changed_default_does_not(tmp_path: Path) -> None:
    claim = read_claim("rate", small_claim(tmp_path))
    assert replace(claim, arms={"good": RunConfig()}).study == claim.study  # whatever the settings that it leaves out
    plan = with_study(Plan.of(claim.arms["good"], Space(()), SweepOptions(study=claim.study)))
    study = enter(plan)[1]

    older = plan.identity()
    del older["config"]["penalty"], older["config"]["optimizer"]["body_lr_factor"]
    study.set_user_attr(IDENTITY, older)
    enter(plan)
    older["config"]["optimizer"]["momentum"] = 0.8
    study.set_user_attr(IDENTITY, older)
    with pytest.raises(BadInput, match=r"config.optimizer.momentum: 0.8 there, 0.9 here"):
        enter(plan)


def test_what_was_interrupted_goes_on(tmp_path: Path) -> None:
    claim = read_claim("rate", small_claim(tmp_path / "claims"))

    def work(*, to_the_end: bool) -> dict[Path, int]:
        lab = Lab([claim], workers=1, tracking_uri="none")
        for state in lab:
            if state.finished and not to_the_end:
                lab.stop()
        ended = [path for path in Path("mlruns").rglob("*/journal.jsonl") if '"weights_sha256": "' in path.read_text()]
        return {path: path.stat().st_mtime_ns for path in ended}

    before = work(to_the_end=False)
    assert 0 < len(before) < 6
    assert judgement_of(claim) is None
    after = work(to_the_end=True)
    assert len(after) == 6
    assert before.items() <= after.items()
    assert judgement_of(claim) is not None


def test_two_equal_arms_are_undecided(tmp_path: Path) -> None:
    claim = read_claim("rate", small_claim(tmp_path, seeds=20))
    noise = np.random.default_rng(1).normal(0.9, 0.01, (2, 20))
    same = {"good": noise[0].tolist(), "tiny": noise[0].tolist()}
    other = {"good": noise[0].tolist(), "tiny": noise[1].tolist()}
    for values in (same, other):
        assert judge(claim, {"best_score": values}, {"best_score": 1 / 144}).word == "undecided here"


def test_of_claims_on_noise_hardly_any_is_decided(tmp_path: Path) -> None:
    claim = read_claim("rate", small_claim(tmp_path))
    rng = np.random.default_rng(0)
    words = [
        judge(
            claim, {"best_score": dict(zip(claim.arms, rng.normal(0.9, 0.01, (2, 5)).tolist(), strict=True))}, {}
        ).word
        for _ in range(400)
    ]
    assert 0 < words.count("holds") + words.count("does not hold") <= 400 * ALPHA


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 2}, "seeds: 2 is not allowed; it must be greater than or equal to 3"),
        ({"seeds": "many"}, "seeds: 'many' is not allowed"),
        ({"expect": {"best_scor": "good > tiny"}}, "did you mean best_score?"),
        ({"expect": {"best_score": "good"}}, "a relation has one of <, > and =="),
        ({"expect": {"best_score": "good > bad"}}, "bad is not an arm; they are good, tiny"),
        ({"expect": {"best_score": "0.9 > 0.5"}}, "it names no arm; they are good, tiny"),
        ({"expect": {"best_score": "good == tiny"}}, "== is for measures of arithmetic"),
        ({"expect": {"best_score": "good > open('x')"}}, "not an arm"),
        ({"expect": {"best_score": "good > tiny ** 2"}}, "is no sum or product of arms and numbers"),
        ({"expect": {"epochs_to": "good > tiny"}}, "epochs_to takes target, but got 0 numbers"),
        ({"expect": {"shift_drop([1])": "good > tiny"}}, "[1] is not a number"),
        ({"expect": {"shift_drop(one)": "good > tiny"}}, "one is not a number"),
        ({"expect": {"best_score": "good > 'tiny'"}}, "'tiny' is not a number"),
        ({"expect": {f"epochs_to(1{'0' * 400})": "good > tiny"}}, "int too large to convert to float"),
        ({"expect": {"__import__('os')": "good > tiny"}}, "expect.__import__('os')"),
        ({"expect": ["best_score"]}, "expect: ['best_score'] is not allowed; it must be a mapping"),
        ({"expect": {}}, "expect: missing; a claim has claim, section, arms and expect"),
        ({"arms": {"good": {"optimizer.lr": -1}, "tiny": {}}}, "arms.good: optimizer.lr: -1"),
        ({"arms": ["good"]}, "arms: ['good'] is not allowed; it must be a mapping"),
        ({"over": {"optimizer.lr": 0.1}}, "over.optimizer.lr: 0.1 is not allowed; it must be a list"),
        ({"over": {"optimizer.lr": []}}, "over.optimizer.lr: [] is not allowed"),
        ({"over": {"optimizer.lr": [-1]}}, "over: optimizer.lr: -1 is not allowed; it must be greater than 0"),
        ({"section": ""}, "section: missing; a claim has claim, section, arms and expect"),
        ({"quick": {"epochs": 3}}, "epochs: unknown key; known are"),
        ({"quick": {"claim": "Another."}}, "claim: unknown key; known are base, arms, over, expect, seeds, note"),
        ({"expects": {}}, "expects: unknown key; known are base, arms"),
    ],
)
def test_a_faulty_file_is_one_line(
    cli: Callable[..., Result], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    folder = small_claim(tmp_path / "claims", **changes).parent
    result = cli("lab", "run", "rate", "--claims", str(folder))
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "01-rate.yaml: " in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("mlruns").exists()


MLP = {"model.name": "mlp"}
POINTS = {"data.dataset": "xor", **MLP}
MASKS = {"data.dataset": "shapes_masks", "data.train_size": 64}


@pytest.mark.parametrize(
    ("base", "measure", "words"),
    [
        ({}, "first_gradient", "it needs training.record_norms; set it to true in base"),
        (MLP, "low_frequencies", "mlp has no convolution; leave it out"),
        (MLP, "size_kept", "the first layer of mlp is not a convolution; leave it out"),
        ({}, "shift_drop(0.5)", "0.5 is not allowed; it must be a whole number of pixels >= 1"),
        (POINTS, "shift_drop(1)", "it needs images with one class each; leave it out"),
        (MASKS, "shift_drop(1)", "it needs images with one class each; leave it out"),
        (MASKS, "linear_probe", "it needs samples with one class each; leave it out"),
        ({}, "epochs_to(90)", "out of reach; accuracy is a fraction between 0 and 1, as 0.9"),
        ({}, "trains(0)", "out of reach; accuracy is a fraction between 0 and 1, as 0.9"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_first_training(
    cli: Callable[..., Result], tmp_path: Path, base: dict[str, Any], measure: str, words: str
) -> None:
    arms = {"good": {"optimizer.lr": 0.1}, "tiny": {"optimizer.lr": 0.001}}
    expect = {measure: "good > tiny"}
    folder = small_claim(tmp_path / "claims", base={"training.epochs": 1, **base}, arms=arms, expect=expect).parent
    result = cli("lab", "run", "rate", "--claims", str(folder))
    assert result.exit_code == 2, result.output
    assert result.stderr == f"cnnlab: claim rate: arm good: expect.{measure}: {words}\n"
    assert not Path("mlruns").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["run", "rat"], "'rat': no such claim; known are rate; did you mean rate?"),
        (["run"], "Missing argument"),
        (["run", "all", "--workers", "0"], "workers"),
        (["report", "docs"], "no claim has been run here; cnnlab lab run all --quick runs them"),
        (["--claims", "nowhere"], "--claims nowhere: there are no claim files (*.yaml)"),
    ],
)
def test_bad_input(cli: Callable[..., Result], tmp_path: Path, args: list[str], words: str) -> None:
    folder = small_claim(tmp_path / "claims").parent
    where = [] if "--claims" in args else ["--claims", str(folder)]
    result = cli("lab", *args, *where)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_default_folder(cli: Callable[..., Result]) -> None:
    result = cli("lab")
    assert result.exit_code == 2
    assert "--claims experiments/claims: there are no claim files" in result.stderr
    with pytest.raises(BadInput):
        find_claims(None)


def test_a_shift_repeats_the_border() -> None:
    from cnnlab.lab.measures import _shifted

    image = torch.arange(9).reshape(1, 1, 3, 3)
    assert _shifted(image, 1, 0)[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert _shifted(image, 0, -1)[0, 0].tolist() == [[1, 2, 2], [4, 5, 5], [7, 8, 8]]


def test_measures_against_plain_numpy_and_torch(tmp_path: Path) -> None:
    config = changed(RunConfig(), {**TINY, "model.dropout": 0.5, "training.record_norms": True})
    learner = prepare(config)
    run = create_run(learner.config, "lab", "none", tmp_path / "run")
    records = list(record_run(learner, run, tested=False))
    ended = Ended(run)
    val = [record.val["accuracy"] for record in records if isinstance(record, Epoch)]
    losses = np.concatenate([record.losses for record in records if isinstance(record, Steps)])
    assert measures.best_score(ended) == max(val)
    assert measures.last_score(ended) == val[-1]
    assert measures.epochs_to(ended, val[1]) == next(n for n, score in enumerate(val, 1) if score >= val[1])
    assert measures.epochs_to(ended, 1.1) == 5
    assert (measures.trains(ended, max(val)), measures.trains(ended, 1.1)) == (1, 0)
    assert measures.loss_noise(ended) == pytest.approx(np.diff(losses).std(ddof=1) / 2**0.5 / losses.mean())
    norms = next(record for record in records if isinstance(record, Norms)).gradients
    assert measures.first_gradient(ended) == pytest.approx(norms["0.Conv2d"] / list(norms.values())[-1])

    checkpoint = load_file(sorted((tmp_path / "run" / "checkpoints").glob("step-*.safetensors"))[-1])
    last = {name.removeprefix("model."): tensor for name, tensor in checkpoint.items() if name.startswith("model.")}
    learner.model.load_state_dict(last)
    with torch.no_grad():
        loss = {
            name: float(torch.nn.functional.cross_entropy(learner.model.eval()(split.inputs), split.targets))
            for name, split in learner.dataset.splits.items()
        }
    assert measures.gap(ended) == pytest.approx(loss["val"] - loss["train"], abs=1e-5)


@pytest.mark.parametrize(("cycles", "low"), [(4, 0.8), (12, 0.1)])
def test_the_frequencies_of_gratings(cycles: int, low: float) -> None:
    """4 or 12 waves over 32 pixels, seen through 16: an eighth, or three eighths, of the sampling rate."""
    wave = torch.sin(2 * torch.pi * cycles / 32 * torch.arange(16.0)).expand(1, 1, 16, 16)
    layer = torch.nn.Conv2d(1, 1, 16)
    layer.weight.data = wave + 5.0
    share = measures.low_frequencies(SimpleNamespace(trained=SimpleNamespace(model=layer)))  # type: ignore[arg-type]
    assert (share > low) == (cycles == 4)
