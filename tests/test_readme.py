"""The documents say what the committed runs measured, and what the folders hold."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("findings/*.md"))
}
README = DOCUMENTS["README.md"]


def script(name):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_code(text):
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def test_the_results_are_those_of_the_committed_runs():
    table = script("table")
    with_results = {name for name, text in DOCUMENTS.items() if table.START in text}
    assert with_results == set(table.DOCUMENTS)
    for name in with_results:
        assert table.insert(DOCUMENTS[name], name) == DOCUMENTS[name], "run: python docs/table.py"


def test_the_readme_has_a_sentence_of_every_lesson_but_the_introduction():
    runs = [path.name for path in (ROOT / "docs" / "results").iterdir() if path.is_dir()]
    told = [sentence.lesson for sentence in script("table").SENTENCES]
    assert [lesson[:2] for lesson in told] == sorted({run[:2] for run in runs})[1:]


def test_a_table_says_what_was_not_seen_and_what_could_not_be_tested(monkeypatch, tmp_path):
    table = script("table")
    claims = [
        {"claim": str(holds), "value": 0, "low": 0, "high": 0, "holds": holds}
        for holds in (True, False, None)
    ]
    folder = tmp_path / "docs" / "results" / "02_self_consistency"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(
        json.dumps({"lesson": "02_self_consistency", "measurements": [], "claims": claims})
    )
    monkeypatch.setattr(table, "ROOT", tmp_path)
    rows = table.table("results", table.SHOWN, "").splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == [
        "True",
        "False **(not seen)**",
        "None *(not testable here)*",
    ]


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        (True, "**Holds**: +3.5 points [+1.5, +5.6], n = 1,200"),
        (False, "**Does not hold**: +3.5 points [+1.5, +5.6], n = 1,200"),
        (None, "**Not testable**: +3.5 points [+1.5, +5.6], n = 1,200"),
    ],
)
def test_a_sentence_says_whether_its_claim_holds(monkeypatch, holds, said):
    table = script("table")
    claim = {"claim": "c", "value": 0.0351, "low": 0.0149, "high": 0.056, "holds": holds}
    run = {"claims": [claim], "measurements": [{"name": "m", "n": 1200}]}
    monkeypatch.setattr(table, "load_run", lambda folder, lesson: run)
    told = [table.Sentence("02_x", "c", "m", "It helps.")]
    assert table.sentences("results", told) == f"- It helps. {said} ([02](lessons/02_x.py)).\n"


def test_committed_results_are_of_the_shipped_model_and_enough_problems():
    records = [
        json.loads(path.read_text())
        for path in sorted((ROOT / "docs" / "results").glob("*/results.json"))
    ]
    assert [record["lesson"] for record in records] == sorted(
        path.stem for path in (ROOT / "lessons").glob("[0-9][0-9]*_*.py")
    )
    for record in records:
        assert record["problems"] >= 500
        name = record["model"]["name"]
        models = dict.fromkeys(("03", "03b", "06", "06b"), "tiny-24")
        models |= dict.fromkeys(("08", "08b"), "tiny-start") | {"07": "tiny-24-wait"}
        assert name == models.get(record["lesson"].partition("_")[0], "tiny")
        assert record["model"]["sha256"] in (ROOT / "checkpoints" / name / "README.md").read_text()


def test_committed_results_of_a_real_model_say_which_and_on_what():
    for path in sorted((ROOT / "docs" / "results_smollm2").glob("*/results.json")):
        record = json.loads(path.read_text())
        assert record["model"]["name"].startswith("SmolLM2-135M-Instruct")
        assert not record["settings"]["task"].startswith("gsm8k") or record["problems"] >= 200


def test_links_and_figures_exist():
    for document, text in DOCUMENTS.items():
        for target in re.findall(r"\]\((?!http)([^)]+)\)", without_code(text)):
            path, _, heading = target.partition("#")
            linked = (ROOT / document).parent / path if path else ROOT / document
            assert linked.exists(), (document, target)
            if heading:
                headings = re.findall(r"^#+ (.+)$", linked.read_text(), flags=re.MULTILINE)
                assert heading in [h.lower().replace(" ", "-") for h in headings], target


def test_modules_that_documents_name_exist():
    folders = ("jaxreason", "lessons", "checkpoints", "tests", "benchmarks", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    paths = ["/" + path.relative_to(ROOT).as_posix() for path in files]
    for document, text in DOCUMENTS.items():
        for module in re.findall(r"`([a-z0-9_/]+\.py)", text):
            assert any(path.endswith("/" + module) for path in paths), (document, module)


def test_every_finding_has_its_line():
    for path in (ROOT / "findings").glob("*.sh"):
        assert f"| [{path.name}]({path.name}) |" in DOCUMENTS["findings/README.md"]


def test_the_house_is_listed_as_it_stands():
    house = script("house")
    page = DOCUMENTS["docs/architecture.md"]
    assert house.insert(page) == page, "run: python docs/house.py"


def test_the_house_has_a_place_for_every_module():
    house = script("house")
    listed = {
        path for name in (*house.CENTRES, *house.ROOF, *house.FLOOR) for path in house.modules(name)
    }
    assert listed == set((ROOT / "jaxreason").rglob("[!_]*.py"))


def test_the_tree_of_the_readme_names_every_folder():
    for path in set((ROOT / "jaxreason").glob("[!_]*")) - {ROOT / "jaxreason" / "py.typed"}:
        assert (f"{path.name}/" if path.is_dir() else path.name) in README, path


def test_the_readme_is_short():
    assert len(without_code(README).split()) <= 1000


def test_the_snippet_of_the_readme_prints_what_it_says(capsys):
    [snippet] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    said = re.search(r"print\(.*\)  # (.+)", snippet)[1]
    exec(snippet, {})
    assert capsys.readouterr().out.strip() == said
