"""Lessons on other models and tasks than their own: a random chat model, a file of problems, and
the options for them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import failed_cli, random_params, run_cli

from jaxreason import save_model
from jaxreason.course import cli, solve, viz
from jaxreason.course import run as course_run
from jaxreason.course.chains import failed_prompt, solves_24
from jaxreason.course.depths import by_depth
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import Completions, complete
from jaxreason.decoding.rows import draw_chunk
from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.tokens import build_tokenizer
from jaxreason.tasks.problem import Problem

FOLDER = Path(__file__).parents[2] / "lessons"
LESSONS = sorted(FOLDER.glob("0[0-2]_*.py"))
# It asks for its problems and prompts before it has compiled much.
EARLY = FOLDER / "02b_when_a_vote_wins.py"
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def row(i: int) -> str:
    lines = "\n".join(f"{k}+{i}=<<{k}+{i}={k + i}>>{k + i}" for k in range(2 + i % 2))
    return json.dumps({"question": f"What is 1+{i}?", "answer": f"{lines}\n#### {1 + i}"})


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    """Random weights, so its answers are noise: what is tested is that a lesson gets to its end and
    says so.
    """
    directory = tmp_path_factory.mktemp("chat") / "model"
    tokenizer = build_tokenizer(["What", "is", "The", "answer"])
    tokenizer.chat_template = TEMPLATE
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    heads = {"num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 512}
    cfg = DecoderConfig(vocab_size=len(tokenizer), **sizes, **heads)
    save_model(directory, random_params(cfg), cfg, tokenizer)
    return directory


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    folder = tmp_path_factory.mktemp("problems")
    (folder / "train.jsonl").write_text("\n".join(map(row, range(20))))
    (folder / "test.jsonl").write_text("\n".join(map(row, range(100, 120))))
    return folder / "test.jsonl"


def fails(monkeypatch, capsys, *arguments: str) -> str:
    error = failed_cli(monkeypatch, capsys, *arguments).err.strip().split("\n")[-1]
    assert error.startswith("error: ")
    return error


SMALL = ("--problems", "8", "--max-new-tokens", "8")
RECORDED = [
    "lesson",
    "model",
    "seed",
    "problems",
    "settings",
    "device",
    "versions",
    "seconds",
    "measurements",
    "claims",
]


def chains_of(script: Path) -> list[str]:
    """The option, for the lessons that have it: 01 draws none."""
    return [] if script.name.startswith("01") else ["--chains", "4"]


def ended(model, key, texts, **options):
    """As if every chain came to its end, which chains of 8 tokens seldom do."""
    written = complete(model, key, texts, **options)
    return written._replace(finished=np.ones_like(written.finished))


@pytest.mark.parametrize("script", LESSONS, ids=lambda path: path.stem)
def test_a_weak_chat_model_on_problems_of_a_file(
    monkeypatch, capsys, tmp_path, chat_model, problems, script
):
    """As all of its chains answer at once, the prompt is to blame, and not the model."""
    chat = not script.name.startswith("00")  # that lesson gets plain prompts, on request
    options = (
        "--model",
        str(chat_model),
        "--task",
        f"gsm8k:{problems}",
        "--out",
        str(tmp_path),
        *SMALL,
        *chains_of(script),
        *(("--rows", "1") if chat else ("--no-chat",)),
    )
    monkeypatch.setattr(course_run, "complete", ended)
    compiled_before = draw_chunk._cache_size()
    run_cli(monkeypatch, "lesson", script.name[:2], *options)
    said = capsys.readouterr().out
    assert said.count("the prompt fails, not the model") == 1 and "larger model" not in said
    folder = tmp_path / script.stem
    record = json.loads((folder / "results.json").read_text())
    assert list(record) == RECORDED and {"name", "params", "sha256"} == set(record["model"])
    settings = {
        "task": f"gsm8k:{problems}",
        "arithmetic": {"weights": "float32", "sums": "float32", "cache": "float32"},
        "chains": 4 if chains_of(script) else None,
        "max_new_tokens": 8,
        "chat": chat,
    }
    assert record["settings"] == settings and record["problems"] == 8
    assert all(row["low"] <= row["value"] <= row["high"] for row in record["measurements"])
    figures = [path.stat().st_size for path in folder.glob("*.png")]
    assert figures and min(figures) > 10_000
    # What random weights write is seldom right; the claims are recorded all the same, and none is
    # about tiny's numbers.
    assert record["claims"] and not any(
        claim["holds"] for claim in record["claims"] if "beats" in claim["claim"]
    )
    assert not any(
        character.isdigit() and "points" in c["claim"]
        for c in record["claims"]
        for character in c["claim"]
    )
    values = {m["name"]: m["value"] for m in record["measurements"]}
    if script.name.startswith("00"):  # four methods, on one problem and then on all of them
        assert draw_chunk._cache_size() - compiled_before <= 8
    if script.name.startswith("01"):
        assert {
            f"{what}/{how}"
            for what in ("accuracy", "finished", "answered")
            for how in ("direct", "cot")
        } <= set(values)
        assert {"accuracy/cot/depth=2", "accuracy/cot/depth=3", "gain/deep"} <= set(values)
        assert values["under_20_tokens/cot"] == 1
        assert "<user>What is 1+" in said  # the prompt it prints went through the template
    if script.name.startswith("02"):
        assert {"finished", "answered", "accuracy/majority@4", "accuracy/early_stop@2"} <= set(
            values
        )
        # Where no chain is right, early stopping has nothing to lose.
        assert max(values[name] for name in values if name.startswith("accuracy")) == 0
        (loss,) = (claim for claim in record["claims"] if "loses at most 1 point" in claim["claim"])
        assert loss["holds"] is None
        assert "not testable here: early stopping loses at most 1 point" in said


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--task", "gsm9k"], "'gsm9k'"),
        (["--task", "gsm8k:/no/file.jsonl"], "'/no/file.jsonl'"),
        (["--task", "gsm8k:{problems}", "--problems", "21"], "only 20"),
        (["--chains", "0"], "--chains is 0"),
        (["--rows", "0"], "--rows is 0"),
        (["--max-new-tokens", "-1"], "--max-new-tokens is -1"),
        (["--max-new-tokens", "500", "--problems", "8"], "fit into the context"),
    ],
)
def test_bad_options_are_one_line(
    monkeypatch, capsys, tmp_path, chat_model, problems, options, named
):
    options = [option.format(problems=problems) for option in options]
    assert named in fails(
        monkeypatch,
        capsys,
        "lesson",
        EARLY.stem,
        "--model",
        str(chat_model),
        "--out",
        str(tmp_path),
        *options,
    )


def test_chains_that_cannot_be_halved_are_one_line(monkeypatch, capsys, tmp_path):
    assert "--chains is 12" in fails(
        monkeypatch, capsys, "lesson", "02", "--chains", "12", "--out", str(tmp_path)
    )


# Runs every script that it is told of in a process of its own. They start with its imports, which
# take seconds.
FORK = """
import json, os, runpy, sys, warnings
import jax
from jaxreason.course import lesson, solve, viz

warnings.filterwarnings("ignore", "os.fork")
for line in sys.stdin:
    if os.fork() == 0:
        break
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
else:
    sys.exit()
sys.argv, folder, environment = json.loads(line)
os.chdir(folder)
for number, name in ((1, "stdout"), (2, "stderr")):
    os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
os.environ.update(environment)
for name in environment:
    if name.startswith("JAX_"):  # JAX read its own when it was imported
        jax.config.update(name.lower(), environment[name] == "true")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def run_script():
    """Runs ``python script arguments...`` in a folder; JAX compiles and keeps what it does by
    default.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    fast = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true", "JAX_LOG_COMPILES": "true"}
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}

    with subprocess.Popen([sys.executable, "-c", FORK], env=ours | fast, **options) as process:

        def run(folder: Path, command: list, **environment: str) -> subprocess.CompletedProcess:
            task = json.dumps([list(map(str, command)), str(folder), environment])
            print(task, file=process.stdin, flush=True)
            status = int(process.stdout.readline())
            written = [(folder / name).read_text() for name in ("stdout", "stderr")]
            return subprocess.CompletedProcess(command, status, *written)

        yield run


def test_a_script_ends_with_one_line_too(run_script, tmp_path, chat_model):
    """Its body runs outside any handler of ours: an error there is no traceback either."""
    too_long = ["--max-new-tokens", "500", "--problems", "12"]
    done = run_script(tmp_path, [EARLY, "--model", chat_model, *too_long])
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.strip().split("\n")[-1].startswith("error: prompt ")


def test_solve_asks_a_chat_model_through_its_template(monkeypatch, capsys, chat_model):
    """A template that refuses to write shows that it was asked."""
    tokenizer_config = chat_model / "chat_template.jinja"
    written = tokenizer_config.read_text()
    tokenizer_config.write_text("{{ raise_exception('asked') }}")
    try:
        message = fails(monkeypatch, capsys, "solve", "What is 1+1?", "--model", str(chat_model))
    finally:
        tokenizer_config.write_text(written)
    assert "chat template" in message and "asked" in message
    run_cli(
        monkeypatch,
        "solve",
        "What is 1+1?",
        "--model",
        str(chat_model),
        "--method",
        "direct",
        "--max-new-tokens",
        "4",
    )
    assert capsys.readouterr().out.startswith("The answer is")


@pytest.mark.parametrize(
    ("options", "turns"),
    [
        (["--prompt", "{question} Think."], "(1+1? Think.)"),
        (["--prompt", "{question}", "--method", "cot"], "(1+1?)"),
        (["--system", "Be brief."], f"(Be brief. | 1+1?  {prompts.STEP_BY_STEP})"),
        (["--system", "Be brief.", "--method", "direct"], f"(Be brief. | 1+1?  {prompts.AT_ONCE})"),
        (["--system", "Be brief.", "--prompt", "Say {question}"], "(Be brief. | Say 1+1?)"),
        (["--system", ""], f"(| 1+1?  {prompts.STEP_BY_STEP})"),
    ],
)
def test_the_turns_that_solve_writes(monkeypatch, capsys, chat_model, options, turns):
    """A template that refuses to write shows what it was asked to."""
    template = chat_model / "chat_template.jinja"
    written = template.read_text()
    template.write_text(
        "{% set turns = messages | map(attribute='content') | join(' | ') %}"
        "{{ raise_exception(turns | replace('\n', ' ')) }}"
    )
    try:
        message = fails(monkeypatch, capsys, "solve", "1+1?", "--model", str(chat_model), *options)
    finally:
        template.write_text(written)
    assert turns in message


def chains(num_tokens: list[list[int]], finished: bool = True) -> Completions:
    tokens = np.array(num_tokens)
    texts = [[""] * len(row) for row in num_tokens]
    return Completions(texts, np.zeros(tokens.shape), tokens, np.full(tokens.shape, finished))


@pytest.mark.parametrize(
    ("num_tokens", "share"),
    [
        ([[7]], "100%"),
        ([[19], [19], [400]], "67%"),
        ([[8, 8, 300], [1, 200, 12]], "67%"),
        ([[19, 19, 19, 20, 20]], "60%"),
        ([[1] * 32], "100%"),
        ([[12]] * 21 + [[90]] * 19, "52%"),
    ],
)
def test_where_most_chains_answer_at_once_the_prompt_fails(model, num_tokens, share):
    failed = failed_prompt(model, chains(num_tokens))
    assert failed.startswith(
        f"{share} of the chains of thought have fewer than 20 tokens: the prompt"
    )
    assert "\n" not in failed
    # A shipped model's chain may be right in a line.
    assert failed_prompt(model._replace(name="tiny"), chains(num_tokens)) is None


@pytest.mark.parametrize(
    ("num_tokens", "finished"),
    [
        ([[20]], True),
        ([[400]], False),
        ([[7], [400]], True),  # half is not more than half
        ([[19, 19, 20, 20]], True),
        ([[8]] * 20 + [[90]] * 20, True),
        ([[300, 7, 280], [90, 19, 41]], True),
        ([[8]] * 40, False),  # cut off: --max-new-tokens 8
    ],
)
def test_where_the_model_reasons_nothing_is_said_of_the_prompt(model, num_tokens, finished):
    assert failed_prompt(model, chains(num_tokens, finished)) is None


def fake_complete(tokens: int, finished: bool = True):
    """Instead of a model: the same chain again and again, of so many tokens."""

    def complete(model, key, texts, *, num_samples=1, **options):
        written = chains([[tokens] * num_samples for _ in texts], finished)
        return written._replace(texts=[["So it is 3."] * num_samples for _ in texts])

    return complete


@pytest.mark.parametrize(
    ("options", "tokens", "finished", "noted"),
    [
        (["--method", "cot"], 8, True, True),
        (["--method", "majority", "--samples", "4"], 8, True, True),
        (["--method", "cot", "--prompt", "{question}"], 19, True, True),
        (["--method", "direct"], 8, True, False),  # asked to answer at once
        (["--method", "cot"], 20, True, False),
        (["--method", "majority", "--samples", "4"], 300, True, False),
        (["--method", "cot"], 8, False, False),  # cut off
    ],
)
def test_solve_says_that_the_prompt_fails(
    monkeypatch, capsys, chat_model, options, tokens, finished, noted
):
    monkeypatch.setattr("jaxreason.course.solve.complete", fake_complete(tokens, finished))
    run_cli(monkeypatch, "solve", "What is 1+2?", "--model", str(chat_model), *options)
    captured = capsys.readouterr()
    assert "So it is 3." in captured.out and "prompt" not in captured.out
    assert captured.err.startswith("note: 100% of the chains" if noted else "")
    assert captured.err.count("\n") == noted


def test_a_lesson_with_long_chains_blames_the_model(
    monkeypatch, capsys, tmp_path, chat_model, problems
):
    monkeypatch.setattr(course_run, "complete", fake_complete(120))
    options = (
        "--model",
        str(chat_model),
        "--task",
        f"gsm8k:{problems}",
        "--out",
        str(tmp_path),
        *SMALL,
    )
    run_cli(monkeypatch, "lesson", "01", *options)
    said = capsys.readouterr().out
    assert "the prompt fails" not in said and "larger model" in said
    record = json.loads((tmp_path / LESSONS[1].stem / "results.json").read_text())
    [share] = [m["value"] for m in record["measurements"] if m["name"] == "under_20_tokens/cot"]
    assert share == 0


@pytest.mark.parametrize(
    ("label", "drawn"),
    [
        ("54", "54"),
        ("-3/4", "-3/4"),
        ("\x05", "?"),
        ("73\u5143", "73?"),  # Chinese, which the font lacks
        ("$\\nonsense$", "$\\nonsense$"),  # no formula
        ("caf\u00e9 \u221a2", "caf\u00e9 \u221a2"),
        ("5" * 500, "5" * 40),
    ],
)
def test_any_answer_can_be_drawn(label, drawn):
    figure = viz.shares([label, "7"], [0.6, 0.4], [True, False], title="t", xlabel="x")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [drawn, "7"]
    figure.canvas.draw()  # any warning is an error
    plt.close(figure)


def test_a_second_run_finds_the_compiled_programs_of_the_first(run_script, tmp_path, chat_model):
    options = ["--model", chat_model, "--method", "cot", "--max-new-tokens", "8"]
    ask = [cli.__file__, "solve", "Ann has 7 apples. She finds 5. How many?", *options]

    def run() -> tuple[str, bool]:
        done = run_script(tmp_path, ask, HOME=str(tmp_path))
        assert done.returncode == 0, done.stderr
        # Programs that compile in less than a tenth of a second may or may not be kept; draw_chunk
        # takes longer.
        kept = list((tmp_path / ".cache" / "jaxreason").glob("jit_draw_chunk-*-cache"))
        assert len(kept) == 1
        return done.stdout, "compilation cache hit for 'jit_draw_chunk'" in done.stderr

    answer, found = run()
    assert not found and run() == (answer, True)


KEEPS = """
import jax
from jaxreason.course.machine import keep_compiled

def plus_one(x):
    return x + 1

keep_compiled()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # this one compiles at once
print(jax.jit(plus_one)(1))
"""


def test_programs_are_kept_if_they_may_be_and_can_be(run_script, tmp_path):
    script = tmp_path / "keeps.py"
    script.write_text(KEEPS)

    def run(home: str = str(tmp_path), **environment: str) -> tuple[bool, int]:
        """Whether the program was found, and how many there are afterwards."""
        done = run_script(tmp_path, [script], HOME=home, **environment)
        assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
        kept = list((tmp_path / ".cache" / "jaxreason").glob("jit_plus_one-*-cache"))
        return "compilation cache hit for 'jit_plus_one'" in done.stderr, len(kept)

    assert run(JAX_ENABLE_COMPILATION_CACHE="false") == (False, 0)
    assert run(home="/dev/null") == (False, 0)  # a home that nothing can be written to
    assert run() == (False, 1)


def test_solve_counts_its_votes():
    answers = ["54", "7", None, "54", "108/2", "8", "9", "1", "2"]
    ids = np.array([0, 1, -1, 0, 0, 2, 3, 4, 5])
    assert solve._counts(answers, ids) == (
        "votes: 54 x 3, 7 x 1, no answer x 1, 8 x 1, 9 x 1, others x 2"
    )
    assert solve._counts(["6", "6"], np.array([0, 0])) == "votes: 6 x 2"


def test_problems_by_depth():
    problems = [Problem("?", 1, depth=d) for d in (1, 2, 9, 7, 2, 1, 3)]
    depth, groups = by_depth(problems, deepest=6)
    assert depth.tolist() == [1, 2, 6, 6, 2, 1, 3]
    assert {k: np.flatnonzero(rows).tolist() for k, rows in groups.items()} == {
        1: [0, 5],
        2: [1, 4],
        6: [2, 3],
    }
    assert list(by_depth([Problem("?", 1)] * 3, deepest=6).groups) == [0]
    with pytest.raises(InputError, match="--problems is 1: too few"):
        by_depth(problems[:1], deepest=6)


def test_of_several_attempts_at_24_the_last_one_counts():
    failed = "10-5=5 left 4 5 6\n6-5=1 left 1 4\n1*4=4 left 4\n"
    solved = "10-4=6 left 5 6 6\n5*6=30 left 6 30\n30-6=24 left 24\n"
    again = "Wait\n24: 4 5 6 10\n"
    texts = [
        f"{solved}#### 24",
        f"{failed}#### 24",
        f"{failed}{again}{solved}#### 24",
        f"{solved}{again}{failed}#### 4",
        f"{solved}Wait\nWait\n#### 24",  # it stays with its answer
    ]
    right = solves_24([(4, 5, 6, 10)], [texts])
    assert right.tolist() == [[True, False, True, False, True]]
    other = [text.replace("Wait", "shells") for text in texts]
    np.testing.assert_array_equal(solves_24([(4, 5, 6, 10)], [other], "shells\n"), right)
