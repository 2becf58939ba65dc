#!/usr/bin/env bash
# reasoning-gym 0.1.25, coin_flip: the answer 0 scores 1.0 on nearly every problem, since a number is scored by how many characters it shares with the beginning of the right one.
# Exits with 0 while the behaviour is as described, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check reasoning-gym==0.1.25
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import reasoning_gym

data = reasoning_gym.create_dataset("coin_flip", size=20, seed=0)
paid = [entry for entry in data if data.score_answer("0", entry) == 1.0 and float(entry["answer"]) != 0]
print(f"the answer 0 scores 1.0 on {len(paid)} of 20 problems, and is right on none of these")
print(f"for instance: {paid[0]['question']!r}, answer {paid[0]['answer']}" if paid else "none is paid any more")
sys.exit(len(paid) < 10)
PYTHON
