"""``dtype="auto"``: what is chosen, that it is measured once, and what is said of it."""

import dataclasses
import json

import jax
import pytest

from jaxreason.models import fastest
from jaxreason.models.hf import load_model, save_model
from jaxreason.models.precision import arithmetic, lower

EQUAL = {"float32": 1.0, "bfloat16": 1.0, "int8": 1.0}


@pytest.fixture
def large(cfg):
    """A config that is worth a measurement, of a model that need not exist."""
    return dataclasses.replace(cfg, vocab_size=fastest.SMALL)


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """The measurements that were made; none is taken, and all are kept in a folder of the test."""
    made = []

    def time_products(*shape):
        made.append(shape)
        return EQUAL | {"bfloat16": 0.5}

    monkeypatch.setattr(fastest, "time_products", time_products)
    monkeypatch.setattr(fastest, "_kept_file", lambda: tmp_path / "arithmetic.json")
    fastest._measure_once.cache_clear()
    yield made
    fastest._measure_once.cache_clear()


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ((1.0, 1.0, 1.0), "float32"),
        ((1.0, 0.9, 0.9), "float32"),  # too little
        ((1.0, 0.5, 0.25), "bfloat16"),
        ((1.0, 2.0, 0.5), "float32"),  # int8 has to be named
    ],
)
def test_a_coarser_arithmetic_has_to_pay(seconds, chosen):
    assert fastest.choose(dict(zip(EQUAL, seconds, strict=True))) == chosen


@pytest.mark.parametrize(
    ("device", "dtype"),
    [
        (("tpu",), "bfloat16"),
        (("gpu", "7.5"), "float32"),  # T4
        (("gpu", "8.0"), "bfloat16"),  # A100
        (("gpu", "10.0"), "bfloat16"),
        (("gpu", "gfx90a"), "float32"),
    ],
)
def test_the_dtype_follows_the_accelerator(device, dtype):
    assert fastest.fast_dtype(*device) == dtype


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators are not measured")
def test_a_machine_is_measured_once(large, counted, tmp_path):
    assert fastest.default_dtype(large) == fastest.default_dtype(large) == "bfloat16"
    fastest._measure_once.cache_clear()  # another process
    assert fastest.default_dtype(large) == "bfloat16" and len(counted) == 1
    [name] = json.loads((tmp_path / "arithmetic.json").read_text())
    assert jax.__version__ in name and f"{fastest.ROWS} x {large.hidden_size}" in name
    assert fastest.default_dtype(large, rows=1) == "bfloat16" and len(counted) == 2


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators are not measured")
@pytest.mark.parametrize("kept", ["", "{", "[]", '{"NAME": {"float32": 1}}', '{"NAME": null}'])
def test_a_damaged_file_is_measured_anew(large, counted, tmp_path, kept):
    shape = f"{fastest.ROWS} x {large.hidden_size} x {large.intermediate_size}"
    kept = kept.replace("NAME", f"{fastest.machine()}, {shape}")
    (tmp_path / "arithmetic.json").write_text(kept)
    assert fastest.default_dtype(large) == "bfloat16" and len(counted) == 1
    assert len(json.loads((tmp_path / "arithmetic.json").read_text())) == 1


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators are not measured")
def test_what_was_chosen_is_said(cfg, large, counted, monkeypatch):
    assert fastest.explain(cfg) is None and not counted  # a small model
    assert fastest.explain(large) == "bfloat16 (2.0x float32 here)"
    monkeypatch.setattr(fastest, "measure", lambda cfg, rows: EQUAL | {"int8": 0.2})
    said = fastest.explain(large)
    assert said.startswith("float32 (bfloat16 is 1.0x") and "--dtype int8 is 5.0x" in said


def test_real_products_are_timed(monkeypatch):
    monkeypatch.setattr(fastest, "SECONDS", 0.0)
    seconds = fastest.time_products(2, 32, 64)
    assert list(seconds) == list(EQUAL) and all(0 < s < 10 for s in seconds.values())


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators are not measured")
def test_auto_loads_what_was_chosen(monkeypatch, tmp_path, params, cfg, tokenizer):
    save_model(tmp_path, params, cfg, tokenizer)
    assert arithmetic(load_model(tmp_path).params)["weights"] == "float32"  # a small one
    monkeypatch.setattr(fastest, "SMALL", 1)
    monkeypatch.setattr(fastest, "measure", lambda cfg, rows: EQUAL | {"bfloat16": 1 / rows})
    model = load_model(tmp_path, rows=8)
    assert arithmetic(model.params)["weights"] == "bfloat16"
    assert arithmetic(load_model(tmp_path, rows=1).params)["weights"] == "float32"
    assert arithmetic(load_model("tiny").params)["weights"] == "float32"  # a shipped one


def test_int8_is_loaded_as_it_is_lowered(tmp_path, params, cfg, tokenizer):
    save_model(tmp_path, params, cfg, tokenizer)
    loaded, (lowered, low_cfg) = load_model(tmp_path, "int8"), lower(params, cfg, "int8")
    assert loaded.cfg == low_cfg
    assert loaded.num_params == load_model(tmp_path, "float32").num_params
    jax.tree.map(lambda a, b: (a == b).all() or pytest.fail(), loaded.params, lowered)
    numbers = {"weights": "int8", "sums": "int32", "cache": "float32"}
    assert arithmetic(loaded.params) == numbers
