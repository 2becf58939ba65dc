"""Memory and disk: what does not fit is said before a run, and what was measured is not lost at its
end.
"""

import errno
import functools
import json
import re

import jax
import jax.numpy as jnp
import matplotlib.figure
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import failed_cli

from jaxreason import InputError, Sampler, complete, files
from jaxreason.course.options import Options
from jaxreason.course.run import Run
from jaxreason.decoding import memory
from jaxreason.decoding.memory import cache_bytes, check_decoding
from jaxreason.decoding.rows import draw_chunk, empty_rows, prefill
from jaxreason.decoding.stop import Stop
from jaxreason.evaluation.intervals import Interval
from jaxreason.evaluation.results import Results
from jaxreason.models.cache import unstack
from jaxreason.models.tokens import Prompt

GIB = 2**30


@pytest.fixture
def free(monkeypatch):
    """Sets what is free, in bytes: on a device and on the host."""

    def set_free(device, host=None):
        monkeypatch.setattr(memory, "free_on_device", lambda: device)
        monkeypatch.setattr(memory, "free_on_host", lambda: host)

    return set_free


def decoding(cfg, **changes):
    defaults = {
        "rows": 64,
        "total": 80,
        "prompt_tokens": 32,
        "new_tokens": 96,
        "dtype": jnp.float32,
    }
    check_decoding(cfg, **{**defaults, **changes})


@pytest.mark.parametrize(
    ("changes", "device", "host", "named"),
    [
        ({"rows": 10**6}, GIB, None, r"1000000 rows, .* at most \d+ rows fit"),
        ({"rows": 512, "prompt_tokens": 10**6}, GIB, None, r"512 rows, .*1000000 \+ 96 tokens"),
        ({"new_tokens": 10**7}, GIB, None, r"32 \+ 10000000 tokens at a time, take about .* GiB"),
        ({"total": 10**9}, 10**15, GIB, r"texts of 1000000000 chains.* at most \d+ chains fit"),
        ({}, 1000, None, r"at most 0 rows fit"),
    ],
)
def test_what_does_not_fit_is_one_line(cfg, free, changes, device, host, named):
    free(device, host)
    with pytest.raises(InputError, match=named) as error:
        decoding(cfg, **changes)
    assert "\n" not in str(error.value)
    if fit := re.search(r"at most (\d+) (chains|rows) fit", str(error.value)):  # and so many do
        if int(fit[1]):
            decoding(
                cfg,
                **{**changes, "total" if fit[2] == "chains" else "rows": int(fit[1])},
            )


@pytest.mark.parametrize(
    ("changes", "device", "host"),
    [
        ({}, GIB, GIB),
        (
            {"rows": 10**6, "total": 10**6},
            None,
            None,
        ),  # it is not known what is free
        ({"rows": 10**4}, 10 * GIB, GIB),
        ({"dtype": jnp.bfloat16}, GIB, GIB),
        ({"prompt_tokens": 0}, GIB, GIB),
        ({"total": 10**6}, GIB, GIB),
        ({"rows": 1}, GIB, GIB),
    ],
)
def test_what_fits_is_not_refused(cfg, free, changes, device, host):
    free(device, host)
    decoding(cfg, **changes)


def test_the_estimate_is_near_what_xla_takes(cfg, params):
    """Compiled and not run: 256 rows."""
    rows, prompt_tokens, new_tokens = 256, 32, 32
    stop = Stop(np.zeros((cfg.vocab_size + 1, 2), np.int32))
    prompt = Prompt(np.zeros((1, prompt_tokens), np.int32), np.ones((1, prompt_tokens), bool))
    read = jax.eval_shape(functools.partial(prefill, cfg=cfg), params, prompt)
    of_rows = jax.eval_shape(
        functools.partial(
            empty_rows,
            final=stop.final,
            impl="threefry2x32",
            shape=(rows, prompt_tokens + new_tokens),
            mesh=None,
        ),
        read,
        None,
    )
    options = {"cfg": cfg, "sampler": Sampler(), "limit": new_tokens}
    program = draw_chunk.lower(unstack(params), of_rows, stop, None, **options)
    account = program.compile().memory_analysis()
    taken = account.temp_size_in_bytes + account.output_size_in_bytes
    estimate = rows * memory.decoding_bytes(cfg, prompt_tokens, new_tokens, jnp.float32, None)
    assert 0.4 < estimate / taken < 1.2
    assert (
        cache_bytes(cfg, 1, 4) == 2 * 2 * 2 * 8 * 4
    )  # keys and values, layers, heads, width, bytes


def test_complete_looks_before_it_decodes(model, free):
    free(10**6)
    with pytest.raises(InputError, match=r"512 rows, .* at most \d+ rows fit"):
        complete(
            model,
            jax.random.key(0),
            ["Tom has"],
            sampler=Sampler(),
            max_new_tokens=8,
            num_samples=5000,
        )


@pytest.mark.parametrize(
    "arguments",
    [("lesson", "00", "--chains", "1000000"), ("solve", "1+1?", "--samples", "1000000000")],
)
def test_chains_without_end_are_one_line(monkeypatch, capsys, tmp_path, free, arguments):
    free(GIB, 10 * GIB)
    out = ("--out", str(tmp_path)) if arguments[0] == "lesson" else ()
    error = failed_cli(monkeypatch, capsys, *arguments, *out).err
    assert error.startswith("error: the texts of ") and error.count("\n") == 1


def test_what_this_machine_says_is_free_makes_sense():
    on_host, on_device = memory.free_on_host(), memory.free_on_device()
    assert on_host is None or 2**20 < on_host < 2**50
    assert on_device is None or 2**20 < on_device < 2**50


# ---- the disk
# ------------------------------------------------------------------------------------------------


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def run(monkeypatch, tmp_path, model):
    """A lesson under way."""
    identity = {"name": "random", "params": 1, "sha256": None}
    results = Results("02_test", model=identity, seed=0, problems=4)
    results.measure("accuracy", Interval(0.5, 0.2, 0.8, 4))
    fields = dict.fromkeys(Run.__dataclass_fields__)
    given = {
        "name": "02_test",
        "options": Options(),
        "folder": tmp_path,
        "model": model,
        "results": results,
        "figures": [],
    }
    return Run(**fields | given)


def test_a_figure_that_the_disk_has_no_room_for_ends_no_lesson(monkeypatch, capsys, run):
    run.figure(plt.figure(), "kept")
    before = (run.folder / "kept.png").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", full)
        for name in ("kept", "lost"):
            run.figure(plt.figure(), name)
    assert [path.name for path in run.folder.iterdir()] == ["kept.png"]
    assert (run.folder / "kept.png").read_bytes() == before
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 2 and "no figure lost" in error and "No space left on device" in error
    )
    run.finish()
    assert json.loads((run.folder / "results.json").read_text())["measurements"]
    kept, results = run.folder / "kept.png", run.folder / "results.json"
    assert capsys.readouterr().out.endswith(f"written:\n  {kept}\n  {results}\n")


@pytest.mark.parametrize("broken", ["pathlib.Path.write_text", "os.replace"])
def test_results_that_cannot_be_written_are_printed_all_the_same(monkeypatch, capsys, run, broken):
    with monkeypatch.context() as patch:
        patch.setattr(broken, full)
        with pytest.raises(InputError, match="No space left on device") as error:
            run.finish()
    assert "--out" in str(error.value) and "\n" not in str(error.value)
    assert "accuracy" in capsys.readouterr().out and list(run.folder.iterdir()) == []


def test_a_full_disk_is_said_before_the_model_is_loaded(monkeypatch, capsys, tmp_path):
    left = files.shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: left)
    error = failed_cli(monkeypatch, capsys, "lesson", "00", "--out", str(tmp_path / "new")).err
    assert "0 MiB are free" in error and error.count("\n") == 1 and list(tmp_path.iterdir()) == []
