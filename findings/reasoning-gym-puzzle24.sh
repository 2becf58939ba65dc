#!/usr/bin/env bash
# reasoning-gym 0.1.25, puzzle24: four other numbers than those of the puzzle score 1.0, so that one expression solves every puzzle.
# Exits with 0 while the behaviour is as described, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check reasoning-gym==0.1.25
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import reasoning_gym

data = reasoning_gym.create_dataset("puzzle24", size=20, seed=0)
entries = list(data)
paid = [entry for entry in entries if data.score_answer("1*1*4*6", entry) == 1.0]
print(f"1*1*4*6 scores 1.0 on {len(paid)} of 20 puzzles, such as: {entries[0]['question'].splitlines()[0]}")
sys.exit(len(paid) < 20)
PYTHON
