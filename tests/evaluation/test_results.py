"""The schema of results.json, the verdicts of claims, and writes that fail."""

import json
import math

import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.intervals import Interval
from jaxreason.evaluation.results import Results


def make_results():
    return Results(
        "02_test", model={"name": "tiny", "params": 7, "sha256": "ab"}, seed=1, problems=500
    )


def test_results_have_the_schema_and_survive_a_round_trip(tmp_path):
    results = make_results()
    results.measure("one chain", Interval(0.5, 0.4, 0.6, 500), tokens=np.float32(32))
    results.measure("majority@8", Interval(np.float32(0.75), np.float64(0.7), 0.8, np.int64(500)))
    results.claim("voting helps", Interval(0.25, 0.2, 0.3, 500), at_least=0.12, excludes_zero=True)
    path = results.write(tmp_path / "new" / "folder")
    record = json.loads(path.read_text())
    assert path.name == "results.json"
    assert list(record) == [
        "lesson",
        "model",
        "seed",
        "problems",
        "device",
        "versions",
        "seconds",
        "measurements",
        "claims",
    ]
    assert record["lesson"] == "02_test"
    assert record["model"] == {"name": "tiny", "params": 7, "sha256": "ab"}
    assert (record["seed"], record["problems"]) == (1, 500)
    assert set(record["device"]) == {"platform", "kind", "cpus"}
    assert set(record["versions"]) == {"python", "jax", "flax", "numpy", "jaxreason"}
    assert record["versions"]["numpy"] == np.__version__
    assert record["seconds"] >= 0
    assert record["measurements"] == [
        {"name": "one chain", "value": 0.5, "low": 0.4, "high": 0.6, "n": 500, "tokens": 32.0},
        {"name": "majority@8", "value": 0.75, "low": 0.7, "high": 0.8, "n": 500, "tokens": None},
    ]
    assert record["claims"] == [
        {"claim": "voting helps", "value": 0.25, "low": 0.2, "high": 0.3, "holds": True}
    ]


@pytest.mark.parametrize(
    ("interval", "bounds", "holds"),
    [
        ((0.12, 0.02, 0.2), {"at_least": 0.12}, True),
        ((0.11, 0.02, 0.2), {"at_least": 0.12}, False),
        ((0.12, -0.01, 0.2), {"at_least": 0.12}, True),
        ((0.12, -0.01, 0.2), {"at_least": 0.12, "excludes_zero": True}, False),
        ((0.12, 0.01, 0.2), {"at_least": 0.12, "excludes_zero": True}, True),
        ((-0.12, -0.2, -0.01), {"at_most": -0.1, "excludes_zero": True}, True),
        ((-0.12, -0.2, 0.01), {"at_most": -0.1, "excludes_zero": True}, False),
        ((-0.01, -0.2, -0.001), {"at_most": -0.1, "excludes_zero": True}, False),
        ((0.01, -0.01, 0.03), {"at_least": -0.02, "at_most": 0.02}, True),
        ((0.03, -0.01, 0.03), {"at_least": -0.02, "at_most": 0.02}, False),
    ],
)
def test_a_claim_holds_by_its_bounds(interval, bounds, holds):
    results = make_results()
    assert results.claim("a claim", Interval(*interval, 100), **bounds) is holds
    assert results.claims[0]["holds"] is holds


@pytest.mark.parametrize(
    ("value", "bounds", "worst", "holds"),
    [
        (0.0, {"at_most": 0.01}, 0.0, None),  # a baseline at 0% has nothing to lose
        (0.0, {"at_most": 0.01}, 0.01, None),
        (0.0, {"at_most": 0.01}, 0.02, True),  # it had two points, and lost none
        (0.02, {"at_most": 0.01}, 0.02, False),
        (-0.3, {"at_most": 0.03}, 0.0, None),
        (0.0, {"at_least": -0.02}, 0.0, None),  # nobody is 2 points behind one who is at 0%
        (0.1, {"at_least": -0.02}, -0.02, None),
        (0.0, {"at_least": -0.02}, -0.5, True),
        (-0.1, {"at_least": -0.02}, -0.5, False),
        (0.2, {"at_least": 0.1, "excludes_zero": True}, 0.15, None),
        (0.2, {"at_least": 0.1, "excludes_zero": True}, -1.0, True),
        (0.0, {"at_least": -0.02, "at_most": 0.02}, 0.0, None),
        (0.0, {"at_most": 0.01}, None, True),  # nothing is said of the worst
    ],
)
def test_a_claim_that_nothing_could_refute_is_not_testable(tmp_path, value, bounds, worst, holds):
    results = make_results()
    assert (
        results.claim(
            "a claim", Interval(value, value - 0.01, value + 0.01, 24), **bounds, worst=worst
        )
        is holds
    )
    assert json.loads(results.write(tmp_path).read_text())["claims"][0]["holds"] is holds
    verdict = {True: "holds", False: "NOT SEEN", None: "not testable here"}[holds]
    assert results.table() == f"{verdict}: a claim"


def test_results_refuse_what_could_not_be_refuted_or_written():
    results = make_results()
    for bounds in ({}, {"at_least": 0.0, "at_most": 1.0, "excludes_zero": True}):
        with pytest.raises(InputError, match="refute"):
            results.claim("vague", Interval(0.1, 0.0, 0.2, 9), **bounds)
    with pytest.raises(InputError, match="finite"):
        results.measure("broken", Interval(math.nan, 0.0, 1.0, 9))
    with pytest.raises(InputError, match="sha256"):
        Results("x", model={"name": "tiny"}, seed=0, problems=1)


@pytest.mark.parametrize("broken", ["json.dumps", "os.replace", "pathlib.Path.write_text"])
def test_a_failed_write_leaves_the_previous_file_alone(tmp_path, monkeypatch, broken):
    results = make_results()
    path = results.write(tmp_path)
    before = path.read_text()
    results.measure("later", Interval(0.5, 0.4, 0.6, 10))

    def fail(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        with pytest.raises(OSError, match="disk full"):
            results.write(tmp_path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]
    results.write(tmp_path)
    assert json.loads(path.read_text())["measurements"][0]["name"] == "later"


def test_table_shows_each_measurement_and_verdict():
    results = make_results()
    results.measure("one chain", Interval(0.5, 0.4, 0.6, 500), tokens=32)
    results.measure("majority", Interval(0.75, 0.7, 0.8, 500))
    results.claim("it helps", Interval(0.25, 0.2, 0.3, 500), at_least=0.3)
    assert results.table().splitlines() == [
        "one chain       0.5 [0.4, 0.6]  n=500  32.0 tokens",
        "majority       0.75 [0.7, 0.8]  n=500",
        "NOT SEEN: it helps",
    ]
