"""Tasks: problems of one shape from generators and files, held-out ones apart, and one line for
what cannot be read.
"""

import json
import re
import sys

import pytest

from jaxreason.answers.verify import grade
from jaxreason.errors import InputError
from jaxreason.tasks import arithmetic, gsm8k, gym, load_examples, load_problems, math500


def gsm8k_row(i: int) -> dict:
    steps = [f"Ann has {i}+{i}=<<{i}+{i}={2 * i}>>{2 * i} pens."] + [
        f"Line {k} of {i}." for k in range(i % 4)
    ]
    return {
        "question": f"Ann has {i} pens and buys {i} more. How many?",
        "answer": "\n".join([*steps, f"#### {2 * i:,}"]),
    }


def write(path, rows) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return str(path)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train.jsonl", [gsm8k_row(i) for i in range(40)])
    write(tmp_path / "test.jsonl", [gsm8k_row(i) for i in range(1000, 1012)])
    return tmp_path


def test_arithmetic_is_what_its_module_makes():
    made = arithmetic.problems("test", 12, 3, (1, 2, 3))
    for ours, theirs in zip(load_problems("arithmetic:1-3", "test", 12, 3), made, strict=True):
        assert (ours.question, ours.gold, ours.depth) == (
            theirs.question,
            theirs.answer,
            theirs.num_operations,
        )
        assert list(ours.steps) == arithmetic.solve(theirs)
    assert load_problems("arithmetic", "test", 5) == load_problems("arithmetic:2-6", "test", 5)
    assert {p.depth for p in load_problems("arithmetic:4", "test", 5)} == {4}
    assert [p.depth for p in load_examples("arithmetic:1-6")] == [2, 3]


def test_a_row_of_gsm8k():
    answer = (
        "Tom has 48/2 = <<48/2=24>>24 apples.\n\n"
        "He sells 1,000+24 = $<<1000+24=1024>>1,024.\n#### 1,024"
    )
    problem = gsm8k.parse({"question": " How many? ", "answer": answer})
    assert problem.question == "How many?" and problem.answer == "1024" and problem.depth == 2
    assert problem.steps == ("Tom has 48/2 = 24 apples.", "He sells 1,000+24 = $1,024.")
    assert problem.gold == "1024"


def test_gsm8k_from_files(folder):
    task = f"gsm8k:{folder}/test.jsonl"
    problems = load_problems(task, "test", 12, seed=1)
    assert sorted(int(p.answer) for p in problems) == [
        2 * i for i in range(1000, 1012)
    ]  # all, each once
    assert load_problems(task, "test", 5, seed=1) == problems[:5]
    assert load_problems(task, "test", 12, seed=2) != problems
    assert (
        grade(
            [[f"... #### {p.answer}", "#### 1"] for p in problems], [p.gold for p in problems]
        ).tolist()
        == [[True, False]] * 12
    )


def test_the_splits_of_gsm8k_are_disjoint(folder):
    task = f"gsm8k:{folder}/test.jsonl"
    split = {
        name: {p.question for p in load_problems(task, name, n)}
        for name, n in (("train", 36), ("validation", 4), ("test", 12))
    }
    assert not split["train"] & split["validation"] and not split["test"] & (
        split["train"] | split["validation"]
    )
    examples = load_examples(task, 6, seed=5)
    assert {p.question for p in examples} <= split["train"] and all(
        1 <= p.depth <= 3 for p in examples
    )


def test_math500_from_a_file(tmp_path):
    rows = [
        {
            "problem": "Half of $\\frac{3}{2}$?",
            "answer": "\\frac{3}{4}",
            "level": 1,
            "subject": "Algebra",
        },
        {"problem": "Where?", "answer": "\\left( 3, \\frac{\\pi}{2} \\right)", "level": 5},
    ]
    problems = load_problems(f"math500:{write(tmp_path / 'm.jsonl', rows)}", "test", 2)
    assert {(p.question, p.answer, p.depth) for p in problems} == {
        (r["problem"], r["answer"], r["level"]) for r in rows
    }
    texts = [
        [f"So \\boxed{{{p.answer}}}.", f"The answer is ${p.answer}$.", "The answer is 7."]
        for p in problems
    ]
    assert grade(texts, [p.gold for p in problems]).tolist() == [[True, True, False]] * 2
    by_value = {p.depth: p.gold for p in problems}
    assert grade([["The answer is 0.75."]], [by_value[1]]).all()


def test_the_worked_examples_of_math500_are_right():
    for problem in math500.EXAMPLES:
        assert grade(
            [["\n".join(problem.steps) + f"\nThe answer is ${problem.answer}$."]], [problem.gold]
        ).all()
        assert problem.answer in problem.steps[-1]  # the last step arrives at it
    assert load_examples("math500", 2) == math500.EXAMPLES


@pytest.mark.parametrize(
    ("task", "split", "n", "named"),
    [
        ("gsm9k", "test", 1, "'gsm9k' is unknown"),
        ("", "test", 1, "'' is unknown"),
        ("gym", "test", 1, "'gym' is unknown"),
        ("arithmetic:0-3", "test", 1, "'arithmetic:0-3'"),
        ("arithmetic:3-2", "test", 1, "'arithmetic:3-2'"),
        ("arithmetic:2-7", "test", 1, "'arithmetic:2-7'"),
        ("arithmetic:many", "test", 1, "'arithmetic:many'"),
        ("gsm8k:/no/such/file.jsonl", "test", 1, "'/no/such/file.jsonl' cannot be read"),
        ("gsm8k:{folder}", "test", 1, "cannot be read"),  # a folder
        ("gsm8k:{folder}/test.jsonl", "dev", 1, "split 'dev'"),
        ("gsm8k:{folder}/test.jsonl", "test", 13, "13 problems .* only 12"),
        ("gsm8k:{folder}/test.jsonl", "validation", 5, "5 problems .* only 4"),
        ("gsm8k:{folder}/test.jsonl", "test", 0, "is 0"),
        ("math500:{folder}/test.jsonl", "test", 1, "no text in 'problem'"),
        ("math500:{folder}/test.jsonl", "train", 1, "split 'train'"),
    ],
)
def test_what_cannot_be_had_is_one_line(folder, task, split, n, named):
    with pytest.raises(InputError, match=named) as error:
        load_problems(task.format(folder=folder), split, n)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{not json", "line 3 is not JSON"),
        ('{"question": "a", "answer": "1 #### 2"', "line 3 is not JSON"),
        ("[1, 2]", "line 3 is a JSON list"),
        ("[" * 100_000, "line 3 is not JSON"),
        ("\udcff".encode("utf-8", "surrogateescape"), "line 3 is not JSON"),
        ('{"question": "How many?"}', "line 3 has no text in 'answer'"),
        ('{"question": "", "answer": "#### 1"}', "line 3 has no text in 'question'"),
        ('{"question": 5, "answer": "#### 1"}', "line 3 has no text in 'question'"),
        ('{"question": "How many?", "answer": "It is 5."}', "line 3 states no answer"),
        ('{"question": "How many?", "answer": "It is 5.\\n#### "}', "line 3 states no answer"),
    ],
    ids=range(10),
)
def test_a_malformed_line_is_named(tmp_path, line, named):
    path = tmp_path / "bad.jsonl"
    good = json.dumps(gsm8k_row(1)).encode()
    path.write_bytes(
        b"\n".join([good, b"", line if isinstance(line, bytes) else line.encode(), good])
    )
    with pytest.raises(InputError, match=named) as error:
        load_problems(f"gsm8k:{path}", "test", 1)
    assert (
        "\n" not in str(error.value)
        and str(path) in str(error.value)
        and len(str(error.value)) < 500
    )


def test_a_bad_level_is_named(tmp_path):
    path = write(tmp_path / "m.jsonl", [{"problem": "a", "answer": "1", "level": "Level 3"}])
    with pytest.raises(InputError, match="line 1 has the level 'Level 3'"):
        load_problems(f"math500:{path}", "test", 1)


@pytest.mark.parametrize(
    ("task", "package"),
    [("gsm8k", "datasets"), ("math500", "datasets"), ("gym:chain_sum", "reasoning_gym")],
)
def test_a_package_that_is_not_installed_is_named(monkeypatch, task, package):
    monkeypatch.setitem(
        sys.modules, package, None
    )  # how Python marks a module that cannot be imported
    with pytest.raises(InputError, match=r'pip install "jaxreason\[tasks\]"') as error:
        load_problems(task, "test", 1)
    assert "\n" not in str(error.value)


# ---- reasoning-gym, by a stand-in: the package itself is in tests/parity/test_tasks_live.py


class Family:
    """A data set of the package's shape: golds, and a rule ``(answer, gold) -> score``."""

    def __init__(self, golds, rule):
        self.golds, self.rule = golds, rule

    def __getitem__(self, i: int) -> dict:
        gold = self.golds[i % len(self.golds)]
        return {"question": f"question {i}", "answer": gold, "metadata": {}}

    def score_answer(self, answer: str, entry: dict) -> float:
        return float(self.rule(answer, entry["answer"]))


NUMBERS, VERDICTS = ["3", "-12", "7", "40", "-5", "8.5", "11", "26"], ["True", "False", "True"]
SUMS = ["1+4", "2+3", "5+0", "1+5", "4+2", "3+4", "2+2", "6+3"]


def first_number(text: str) -> str:
    return re.search(r"-?\d+", text)[0]  # a TypeError where there is none, as some rules raise


@pytest.mark.parametrize(
    "family",
    [
        Family(NUMBERS, lambda answer, gold: answer == gold),
        Family(NUMBERS, lambda answer, gold: abs(float(answer) - float(gold)) < 1e-3),
        Family(NUMBERS, lambda answer, gold: answer == gold or 0.01),
        Family(["12", "-3", "4", "6"], lambda answer, gold: first_number(answer) == gold),
        Family(VERDICTS, lambda answer, gold: answer.lower() == gold.lower()),
        Family(["1.0", "0.0", "1.0"], lambda answer, gold: float(answer) == float(gold)),
        Family([4, 9, 16], lambda answer, gold: answer == str(gold)),  # answers that are no texts
        Family(
            SUMS,
            lambda answer, gold: re.fullmatch(r"[0-9+]+", answer) and eval(answer) == eval(gold),
        ),
        Family([None], lambda answer, gold: answer == "c a b"),  # without a stated solution
        Family(
            ["True"], lambda answer, gold: answer == gold
        ),  # the same answer everywhere is right
        Family(["the cat", "a dog", "no"], lambda answer, gold: answer.strip(".").lower() == gold),
    ],
    ids=range(11),
)
def test_a_sound_rule_has_no_fault(family):
    assert gym.find_fault(family) is None


@pytest.mark.parametrize(
    ("family", "fault"),
    [
        (
            Family(VERDICTS, lambda answer, gold: bool(answer) == bool(gold)),
            "pays the wrong answer '0'",
        ),
        (Family(NUMBERS, lambda answer, gold: True), "pays the wrong answer ''"),
        (
            Family(["0.5", "0.25", "0.125"], lambda answer, gold: gold.startswith(answer)),
            "pays the wrong answer '",
        ),
        (Family([None], lambda answer, gold: not answer.isdigit()), "pays the wrong answer '"),
        (
            Family(NUMBERS, lambda answer, gold: answer.strip("-") == gold.strip("-")),
            "pays numbers of the wrong sign",
        ),
        (
            Family(NUMBERS, lambda answer, gold: abs(float(answer)) == abs(float(gold))),
            "pays numbers of the wrong sign",
        ),
        (
            Family(["8*3", "6*4", "12+12"], lambda answer, gold: eval(answer) == 24),
            "pays the wrong answer '8*3'",
        ),
        (
            Family(["cat", "dog", "ant"], lambda answer, gold: gold in answer),
            "pays two answers at once",
        ),
        (Family(NUMBERS, lambda answer, gold: gold in answer.split()), "pays two answers at once"),
        (
            Family([4, 9, 16], lambda answer, gold: answer == gold),
            "does not pay the answers that it states",
        ),
        (Family(NUMBERS, lambda answer, gold: 0.5), "does not pay the answers that it states"),
    ],
    ids=range(11),
)
def test_a_rule_that_pays_wrong_answers_is_found(family, fault):
    assert f"its own rule {fault}" in str(gym.find_fault(family))


STAND_IN = """
class Sets:  # draws from a set of strings, whose order differs from process to process
    def __init__(self, size, seed): self.seed = seed
    def __getitem__(self, i):
        print("loading")
        words = list({f"word {k}" for k in range(50)})
        question = f"{self.seed + i}: {words[:5]}"
        return {"question": question, "answer": words[5], "metadata": {1: (2,)}}
    def score_answer(self, answer, entry): return float(answer == entry["answer"])
class Generous(Sets):
    def score_answer(self, answer, entry): return 1.0
class Broken(Sets):
    def __getitem__(self, i): raise RuntimeError("no luck\\nat all")
class Dying(Sets):
    def __getitem__(self, i): raise SystemExit(3)
class Few(Sets):
    def __getitem__(self, i): return {"question": str(i % 3), "answer": str(i % 3)}
DATASETS = {"sets": Sets, "generous": Generous, "broken": Broken, "dying": Dying, "few": Few}
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    package = tmp_path / "reasoning_gym"
    package.mkdir()
    (package / "factory.py").write_text(STAND_IN)
    (package / "__init__.py").write_text(
        "from reasoning_gym.factory import DATASETS\n"
        "def create_dataset(name, size, seed): return DATASETS[name](size, seed)\n"
    )
    gym._dataset.cache_clear()
    loaded = [name for name in sys.modules if name.partition(".")[0] == "reasoning_gym"]
    for name in [*loaded, "reasoning_gym", "reasoning_gym.factory"]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    gym._dataset.cache_clear()
    for name in ("reasoning_gym", "reasoning_gym.factory"):
        sys.modules.pop(name, None)


def test_a_generator_that_draws_from_sets_gives_the_same_problems_in_every_process(
    stand_in, monkeypatch
):
    drawn = []
    for hash_seed in ("1", "2"):  # of this process, as far as its child is concerned
        monkeypatch.setenv("PYTHONHASHSEED", hash_seed)
        drawn.append(load_problems("gym:sets", "test", 3, seed=1))
    assert [p[:4] for p in drawn[0]] == [p[:4] for p in drawn[1]]
    assert [p.question.partition(":")[0] for p in drawn[0]] == ["5000000", "5000001", "5000002"]
    assert all(p.judge(p.answer) and not p.judge("word") for p in drawn[0])


@pytest.mark.parametrize(
    ("family", "named"),
    [
        ("generous", "gym:generous cannot be graded: its own rule pays the wrong answer ''"),
        ("broken", r"gym:broken gives no problems \(no luck\)"),
        ("dying", "gym:dying gives no problems"),
        ("few", "4 different problems of gym:few: 80 draws gave 3"),
        ("set", "gym:set gives no problems.*did you mean 'sets'"),
        ("generos", "did you mean 'generous'"),
        ("nothing_like_it_at_all", "expected a family of reasoning-gym's gallery$"),
    ],
)
def test_what_a_family_lacks_is_one_line(stand_in, family, named):
    with pytest.raises(InputError, match=named) as error:
        load_problems(f"gym:{family}", "test", 4)
    assert "\n" not in str(error.value)
