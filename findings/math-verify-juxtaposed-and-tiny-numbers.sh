#!/usr/bin/env bash
# math-verify 0.9.0 (latex2sympy2_extended 1.11.0): numbers side by side are added, and tiny numbers are all equal.
#
# 2(3) is read as 2 + 3, and "12\ 345", a thousands blank, as 12 + 345. A base is dropped: 52_8 equals 52. 3:30 and 7:70
# are both the quotient 1/10. 2^-99 equals 2^-98 and even -2^-98, since verify() rounds to six decimals by default.
# An open interval (1, 2) equals the set {1, 2}. All with the default settings, on answers as MATH writes them.
# Exits with 0 while the behaviour is as described, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check math-verify==0.9.0 latex2sympy2_extended==1.11.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from math_verify import parse, verify

equal = [
    (r"5", r"2(3)"),
    (r"357", r"12\ 345"),
    (r"52_8", r"52"),
    (r"3:30", r"7:70"),
    (r"\frac{1}{2^{98}}", r"\frac{1}{2^{99}}"),
    (r"\frac{1}{2^{98}}", r"-\frac{1}{2^{98}}"),
    (r"\{1,2\}", r"(1,2)"),
]
verdicts = []
for gold, answer in equal:
    parsed = [parse(f"${text}$") for text in (gold, answer)]
    verdicts.append(verify(*parsed))
    print(f"{gold} and {answer} are equal: {verdicts[-1]}, read as {parsed[0][0]} and {parsed[1][0]}")
sys.exit(not all(verdicts))
PYTHON
