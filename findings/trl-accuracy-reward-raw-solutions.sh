#!/usr/bin/env bash
# trl 1.16.0 (math-verify 0.9.0): accuracy_reward reads a solution such as 2\sqrt{3} as 2.
#
# Behaviour: the docstring asks for raw solutions and shows \frac{1}{3}, which works. Without dollars (or other math
# delimiters) a fraction of two numbers is the only LaTeX that is read; of other solutions one number is picked out.
# So for the gold 2\sqrt{3} the completion \boxed{2} earns 1.0, and \boxed{2\sqrt{3}} earns 0.0. Where no number is
# found, as in \sqrt{51}, the reward is None. Answers of MATH have this form, so GRPO then trains towards wrong ones.
# Write the solution as $2\sqrt{3}$: all of these are then graded right.
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "math-verify==0.9.0" "latex2sympy2_extended==1.11.0" packaging
"$work/venv/bin/pip" install --quiet --no-deps "trl==1.16.0"
cat > "$work/show.py" <<'PY'
import sys
from trl.rewards import accuracy_reward


def reward(answer, solution):
    message = [{"role": "assistant", "content": rf"The answer is $\boxed{{{answer}}}$."}]
    return accuracy_reward([message], [solution])[0]


golds = {  # and what is paid for instead
    r"2\sqrt{3}": "2", r"6 - 5i": "5", r"\frac{9}{2}\pi": r"\frac{9}{2}", r"2x + 3": "3", r"x^2 + 3x": "3",
    r"2\frac{1}{3}": r"\frac{1}{3}", r"2^{10}": "2", r"[0, 4]": "4", r"3 \pm 2\sqrt{2}": "2",
}
verdicts = []
for gold, wrong in golds.items():
    raw = reward(gold, gold), reward(wrong, gold)
    in_dollars = reward(gold, f"${gold}$"), reward(wrong, f"${gold}$")
    print(f"{gold}: right {raw[0]}, {wrong} {raw[1]}; with the gold in dollars {in_dollars[0]} and {in_dollars[1]}")
    verdicts.append(raw == (0.0, 1.0) and in_dollars == (1.0, 0.0))
as_documented = reward(r"\frac{1}{3}", r"\frac{1}{3}")
skipped = reward(r"\sqrt{51}", r"\sqrt{51}")
print(r"\frac{1}{3}: right", as_documented, r"and \sqrt{51}: right", skipped)
sys.exit(0 if all(verdicts) and as_documented == 1.0 and skipped is None else 1)
PY
"$work/venv/bin/python" "$work/show.py"
