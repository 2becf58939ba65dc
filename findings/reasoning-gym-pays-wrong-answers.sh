#!/usr/bin/env bash
# reasoning-gym 0.1.25: three families give the full score of 1.0 to plainly wrong answers.
#
# coin_flip: a number is scored by the characters that it shares with the right one, so 0 scores 1.0 on most problems.
# game_of_life_halting: bool() is taken of both texts, so "I do not know" scores 1.0 on every problem.
# gsm_symbolic: the minus sign is not read, so minus the right number scores 1.0.
# A policy that is trained on these rewards learns to give such answers. Seen: 20 of 20 for each family.
# Exits with 0 while the behaviour is as described, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check reasoning-gym==0.1.25
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import reasoning_gym

wrong_answers = {
    "coin_flip": lambda gold: "0",
    "game_of_life_halting": lambda gold: "I do not know",
    "gsm_symbolic": lambda gold: f"-{gold}",
}
unchanged = True
for family, wrong_answer in wrong_answers.items():
    data = reasoning_gym.create_dataset(family, size=20, seed=0)
    entries = [entry for entry in data if str(entry["answer"]) not in ("0", "0.0")]
    scores = [data.score_answer(wrong_answer(entry["answer"]), entry) for entry in entries]
    paid = sum(score == 1.0 for score in scores)
    print(f"{family}: a wrong answer scores 1.0 on {paid} of {len(entries)} problems")
    unchanged &= paid >= len(entries) / 2
sys.exit(not unchanged)
PYTHON
