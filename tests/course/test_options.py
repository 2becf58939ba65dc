"""A lesson's options: what can be known to be wrong is refused at once, with one line, before JAX
is imported.
"""

import ast
import dataclasses
import inspect
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import failed_cli

from jaxreason import files
from jaxreason.course import cli, options
from jaxreason.course.options import Options, read_options
from jaxreason.errors import InputError, did_you_mean
from jaxreason.models import names

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]*_*.py"))


@pytest.fixture
def other_tokenizer(tmp_path):
    """A copy of tiny in which one token has another name."""
    folder = tmp_path / "other"
    shutil.copytree(names.shipped()["tiny"], folder)
    stored = json.loads((folder / "tokenizer.json").read_text())
    stored["model"]["vocab"][-1][0] += "x"
    (folder / "tokenizer.json").write_text(json.dumps(stored))
    return folder


# The last word in a process of its own: what was imported, and how much processor time it took.
ASK = """
import runpy, sys, time
try:
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    heavy = {"jax", "transformers", "flax", "scipy", "matplotlib"} & set(sys.modules)
    print(f"{sorted(heavy)} {time.process_time()}", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["cli", "lesson", "99"], "lesson '99' not found"),
        (["cli", "lesson", "grpo"], "did you mean '08_grpo'?"),
        (["cli", "lesson", "08", "--modle", "x"], "--model"),
        (
            ["cli", "lesson", "08_grpo", "--model", "does-not-exist"],
            "model 'does-not-exist' not found",
        ),
        (
            ["cli", "lesson", "04", "--model", "nobody/model"],
            "reward model 'nobody/model-prm' not found",
        ),
        (["cli", "solve", "How many?", "--model", "tinny"], "did you mean 'tiny'"),
        (["cli", "solve", "How many?", "--modle", "tiny"], "--model"),
        (["08_grpo", "--sees", "2"], "--seeds"),
        (["02_self_consistency", "--chains", "12"], "--chains is 12"),
        (["10_test_time_compute", "--model", "{other}"], "other-prm' not found"),
        (["09_distillation", "--model", "{other}"], "has another vocabulary than 'tiny-start'"),
        (["01_chain_of_thought", "--task", "gsm8k:/no/file.jsonl"], "'/no/file.jsonl'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_within_two_seconds(other_tokenizer, arguments, named):
    script, *rest = (argument.format(other=other_tokenizer) for argument in arguments)
    path = ROOT / ("jaxreason/course/cli.py" if script == "cli" else f"lessons/{script}.py")
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(path), *rest],
        capture_output=True,
        text=True,
        cwd=other_tokenizer,
        timeout=120,
    )
    *lines, last = done.stderr.strip().splitlines()
    heavy, seconds = last.rsplit(" ", 1)
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr
    assert heavy == "[]" and float(seconds) < 2


@pytest.mark.parametrize("script", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_reads_its_options_first(script):
    first, second, *_ = ast.parse(script.read_text()).body
    assert ast.unparse(first) == "from jaxreason.course.options import read_options"
    assert ast.unparse(second).startswith(f"GIVEN = read_options('{script.stem}'")


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("tinny", ["tiny", "large"], "; did you mean 'tiny'?"),
        ("gsm9k", ["gsm8k", "math500"], "; did you mean 'gsm8k'?"),
        ("tiny-pr", ["tiny-prm", "tiny-orm"], "; did you mean 'tiny-prm' or 'tiny-orm'?"),
        ("chain_sums", ["chain_sum", "coin_flip"], "; did you mean 'chain_sum'?"),
        ("xyz", ["tiny", "large"], ""),
        ("", ["tiny"], ""),
        ("x", [], ""),
    ],
)
def test_did_you_mean(name, known, said):
    assert did_you_mean(name, known) == said


@pytest.mark.parametrize("name", ["2", "02", "02_self_consistency"])
def test_a_lesson_is_found_by_number_or_name(name):
    assert cli.find_lesson(name).name == "02_self_consistency.py"


@pytest.mark.parametrize(("name", "found"), [("3", "03_a"), ("03b", "03b_c"), ("3b", "03b_c")])
def test_the_parts_of_a_lesson_have_numbers_of_their_own(name, found):
    scripts = {stem: Path(f"{stem}.py") for stem in ("03_a", "03b_c", "10_d")}
    assert cli._choose(name, scripts).stem == found
    with pytest.raises(InputError, match="expected one of 03, 03b, 10$"):
        cli._choose("10b", scripts)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("tiny-24-valu", "did you mean 'tiny-24-value'"),
        ("/no/such", "not found"),
        ("a/b/c", "not found"),
        ("a/b:", "or 'Qwen/.*-GGUF:q4_k_m'"),
        ("a/b:*", "not found"),
        ("none.gguf", "'none.gguf' not found: expected a GGUF file"),
        ("", "not found"),
        ("x" * 400, "not found"),
        ("a\0b", "not found"),
        ("{folder}", "it has no config.json"),
    ],
    ids=ascii,
)
def test_a_name_that_no_model_has_is_refused(tmp_path, name, named):
    with pytest.raises(InputError, match=named):
        names.check_name(name.format(folder=tmp_path))


@pytest.mark.parametrize(
    "name", ["tiny", "someone/model", "someone/model:q4_k_m", "{folder}", "{folder}/x.gguf"]
)
def test_a_name_that_a_model_may_have_is_not(tmp_path, name):
    for file in ("config.json", "x.gguf"):
        (tmp_path / file).write_text("{}")
    names.check_name(name.format(folder=tmp_path))


def test_models_that_read_the_same_tokens(other_tokenizer, tmp_path):
    names.check_same_vocabulary("tiny-l", "tiny-start")
    names.check_same_vocabulary("someone/model", "tiny-start")  # whose files are not here
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "tokenizer.json").write_text("[]")
    names.check_same_vocabulary(
        str(tmp_path / "damaged"), "tiny-start"
    )  # the loader says what is wrong
    with pytest.raises(InputError, match="another vocabulary"):
        names.check_same_vocabulary(str(other_tokenizer), "tiny-start")


@pytest.mark.parametrize(
    ("given", "own", "named"),
    [
        (["--problems", "0"], {}, "--problems is 0"),
        (["--task", "gsm8k"], {}, "this lesson has no such option"),
        (["--chains", "8"], {}, "this lesson has no such option"),
        (["--seeds", "2"], {}, "this lesson has no such option"),
        (["--chains", "2"], {"chains": 4, "halved": True}, "--chains is 2: expected 4, 8, 16"),
        (
            ["--chains", "1000000"],
            {"chains": 4, "halved": True},
            "--chains is 1000000: expected 4, 8, 16",
        ),
        (["--rows", "0"], {}, "--rows is 0"),
        (["--dtype", "int8"], {"trains": True}, "this lesson trains the model"),
        (["--task", "gym"], {"task": "arithmetic"}, "'gym' is unknown"),
        (["--task", "aritmetic:2-3"], {"task": "arithmetic"}, "did you mean 'arithmetic'"),
        (["--task", "arithmetic:2-9"], {"task": "arithmetic"}, "'arithmetic:2-9'"),
    ],
)
def test_bad_options_are_refused(monkeypatch, capsys, given, own, named):
    monkeypatch.setattr(sys, "argv", ["lesson", *given])
    with pytest.raises(SystemExit) as stop:
        read_options("00_test", **own)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and named in error and error.count("\n") == 1


def test_good_options_are_read(monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["lesson", "--quick", "--chains", "8", "--out", str(tmp_path / "a" / "b")]
    )
    given = read_options(
        "02_x", problems=500, task="arithmetic", chains=64, halved=True, reward_models=("prm",)
    )
    assert (
        given.name == "02_x"
        and given.task == "arithmetic"
        and given.num_problems == options.QUICK_PROBLEMS
    )
    assert given.options.chains == 8 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", ["file", "file above", "no right", "full"])
def test_a_folder_that_cannot_take_results_is_refused(monkeypatch, tmp_path, case):
    out = tmp_path / "out"
    if case == "file":
        out.touch()
    if case == "file above":
        out.touch()
        out = out / "deeper"
    if case == "no right":  # whoever runs the tests may have all rights
        monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    if case == "full":
        left = shutil.disk_usage(tmp_path)._replace(free=5 * 2**20)
        monkeypatch.setattr(files.shutil, "disk_usage", lambda path: left)
    named = {"no right": "may not be written to", "full": "5 MiB are free on its disk"}.get(
        case, "is no folder"
    )
    with pytest.raises(InputError, match=named) as error:
        files.check_folder(out, "02_x")
    assert "--out" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("made", ["", "out", "out/02_x"])
def test_a_folder_that_can_is_not_made_by_looking_at_it(tmp_path, made):
    (tmp_path / made).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    files.check_folder(tmp_path / "out", "02_x")
    assert sorted(tmp_path.rglob("*")) == before


def test_every_option_has_a_line_of_its_own_in_the_help(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lesson", "--help"])
    with pytest.raises(SystemExit):
        read_options("00_test")
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    documented = re.findall(r"^  (\w+): ", inspect.cleandoc(Options.__doc__), re.MULTILINE)
    assert documented == [field.name for field in dataclasses.fields(Options)]
    for text in ("Chains decoded at a time", "Devices to spread over", "Longest chain in tokens"):
        assert said.count(text) == 1


def test_bad_input_in_a_notebook_raises(monkeypatch):
    monkeypatch.setattr(options, "in_notebook", lambda: True)
    monkeypatch.setenv("JAXREASON_OPTIONS", "--model tinny")
    with pytest.raises(InputError, match="did you mean 'tiny'"):
        read_options("00_test")


def test_solve_refuses_before_it_loads(monkeypatch, capsys):
    began = time.process_time()
    assert (
        "'nowhere'"
        in failed_cli(monkeypatch, capsys, "solve", "How many?", "--model", "nowhere").err
    )
    assert time.process_time() - began < 2
