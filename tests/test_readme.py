"""The README says what the committed runs measured, and what the folder holds."""

import importlib.util
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PATHS = ("README.md", "docs/results/README.md", "docs/results_smollm2/README.md")
DOCUMENTS = {path: (ROOT / path).read_text() for path in PATHS}
README = DOCUMENTS["README.md"]


def test_the_tables_are_those_of_the_committed_results():
    spec = importlib.util.spec_from_file_location("table", ROOT / "docs" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(DOCUMENTS) == set(module.DOCUMENTS)
    for document, text in DOCUMENTS.items():
        assert module.insert(text, document) == text, "run: python docs/table.py"


def test_a_table_says_what_was_not_seen_and_what_could_not_be_tested(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("table", ROOT / "docs" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    claims = [
        {"claim": str(holds), "value": 0, "low": 0, "high": 0, "holds": holds}
        for holds in (True, False, None)
    ]
    folder = tmp_path / "docs" / "results" / "02_self_consistency"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(
        json.dumps({"lesson": "02_self_consistency", "measurements": [], "claims": claims})
    )
    monkeypatch.setattr(module, "ROOT", tmp_path)
    rows = module.table("results", module.SHOWN, "").splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == [
        "True",
        "False **(not seen)**",
        "None *(not testable here)*",
    ]


def test_committed_results_are_of_the_shipped_model_and_enough_problems():
    records = [
        json.loads(path.read_text())
        for path in sorted((ROOT / "docs" / "results").glob("*/results.json"))
    ]
    assert [record["lesson"] for record in records] == [
        "00_introduction",
        "01_chain_of_thought",
        "02_self_consistency",
        "03_tree_of_thoughts",
        "04_process_reward_models",
        "05_best_of_n",
        "06_mcts",
        "07_budget_forcing",
        "08_grpo",
        "09_distillation",
        "10_test_time_compute",
    ]
    for record in records:
        assert record["problems"] >= 500
        name = record["model"]["name"]
        models = {"03": "tiny-24", "06": "tiny-24", "07": "tiny-24-wait", "08": "tiny-start"}
        assert name == models.get(record["lesson"][:2], "tiny")
        assert record["model"]["sha256"] in (ROOT / "checkpoints" / name / "README.md").read_text()


def test_committed_results_of_a_real_model_say_which_and_on_what():
    for path in sorted((ROOT / "docs" / "results_smollm2").glob("*/results.json")):
        record = json.loads(path.read_text())
        assert record["model"]["name"].startswith("SmolLM2-135M-Instruct")
        assert not record["settings"]["task"].startswith("gsm8k") or record["problems"] >= 200


def test_links_and_figures_exist():
    for document, text in DOCUMENTS.items():
        for target in re.findall(r"\]\((?!http)([^)]+)\)", text):
            assert ((ROOT / document).parent / target.partition("#")[0]).exists(), target


def test_the_annotated_tree_names_every_module():
    for path in (ROOT / "jaxreason").rglob("*.py"):
        if path.name != "__init__.py":
            assert path.name in README, path
