#!/usr/bin/env bash
# reasoning-gym 0.1.25, gsm_symbolic: the right number with the wrong sign scores 1.0, since the minus is never part of what its expression finds.
# Exits with 0 while the behaviour is as described, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check reasoning-gym==0.1.25
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import reasoning_gym

data = reasoning_gym.create_dataset("gsm_symbolic", size=20, seed=0)
entries = [entry for entry in data if float(entry["answer"]) > 0]
paid = sum(data.score_answer(f"-{entry['answer']}", entry) == 1.0 for entry in entries)
print(f"minus the right answer scores 1.0 on {paid} of {len(entries)} problems, such as -{entries[0]['answer']} for {entries[0]['answer']}")
sys.exit(paid < len(entries))
PYTHON
