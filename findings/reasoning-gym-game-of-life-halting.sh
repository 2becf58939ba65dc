#!/usr/bin/env bash
# reasoning-gym 0.1.25, game_of_life_halting: every text that is not empty scores 1.0, since bool() is taken of the answer and of the text 'False' alike.
# Exits with 0 while the behaviour is as described, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check reasoning-gym==0.1.25
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import reasoning_gym

data = reasoning_gym.create_dataset("game_of_life_halting", size=20, seed=0)
entries = list(data)
paid = sum(data.score_answer("I do not know", entry) == 1.0 for entry in entries)
golds = [str(entry["answer"]) for entry in entries]
print(f"'I do not know' scores 1.0 on {paid} of 20 problems; the answers: {golds.count('True')} True, {golds.count('False')} False")
sys.exit(paid < 20)
PYTHON
