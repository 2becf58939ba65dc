r"""Model outputs whose answer is known, to test the grader: ``python -m
tests.answers.answer_texts``.

The generator draws an answer first, writes it the way models do, and draws a gold that is the same
value in another form (right) or a near miss (wrong). So it knows the verdict without reading its
own text, and shares no code with `jaxreason.answers.verify`.

What it takes for right and wrong:

- The last stated answer counts. A check or a restatement behind it changes nothing.
- Two values for a question with one ("10 or 12") are a hedge, and wrong. So is "not 12".
- A gold that is no single number ("5 and 7", a pair, a matrix, an equation, "June 20") is met by
  the same answer only, never by one of its numbers.
- "50%" is 50. 0.333 is not 1/3. Units do not count, and their exponents are no answers.
- What stands in a thought that is never closed does not count.

Cases over which readers may disagree are left out: 52_8 against 42, "2 hours and 30 minutes"
against 150, "3 and 1/2" against 3.5, `\boxed{10} or \boxed{12}` against 12, "6:8" against "3:4",
"(B) 12" against 12, hedges in other languages.
"""

import argparse
import contextlib
import importlib.util
import random
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from jaxreason.answers import symbolic
from jaxreason.answers.verify import answer_ids, extract_answer, is_correct

Gold = str | int | float


class Draw(NamedTuple):
    """An answer: how it is written, and which golds it meets and misses."""

    key: object  # equal for equal answers; None: votes are not compared
    write: Callable[[random.Random], tuple[str, list[int]]]  # a text, and the other numbers in it
    golds: list[Gold] = []
    misses: list[Gold] = []
    symbolic: list[Gold] = []  # golds met only where math-verify is installed
    number: bool = False  # a single number: the other numbers of the text are misses, too


class Case(NamedTuple):
    text: str
    gold: Gold
    right: bool | None  # None: right where math-verify is installed, either way without it
    kind: str
    twin: str | None = None  # a text with the same answer
    rival: str | None = None  # a text with another answer
    number: bool = False  # the extracted answer must be graded as the text is


# --- The reasoning before the answer, in five scripts ---------------------------------------------


def templates(block: str) -> list[str]:
    """One template a line; ¶ is a line break."""
    return [line.replace("¶", "\n") for line in block.strip().splitlines()]


NAMES = ["Tom", "Maria", "Janet", "Weng", "Ali", "Sofia"]
ITEMS = ["apples", "eggs", "marbles", "books", "tickets", "clips"]
REASONING = {
    "English": templates(r"""
{name} starts with {a} {item} and buys {b} more.
First, {a} + {b} = {c}.
Step 1: {a} + {b} = {c}
**Step 2:** Multiply {a} by {b}: {a} × {b} = {e}.
## Step 1: Count the {item}¶There are {a} on the table and {b} in the box.
- {name} has {a} {item}.¶- {name} gets {b} more.
1. **Total**: {a} + {b} = {c} {item}
We compute \({a} \times {b} = {e}\).
\[ {a} + {b} = {c} \]
Let $x$ be the number of {item}. Then $x + {a} = {c}$, so $x = {b}$.
{name} sold {a}+{b} = <<{a}+{b}={c}>>{c} {item} in May.
To find the answer, we first add {a} and {b}.
Let's find the answer step by step.
It could be {a} or {b} at first sight, so let me check.
That takes {a} minutes at {b} km/h.
In 2019, the price was ${a}.50; now it is ${b}.
Since {a}% of the {item} are red, {b} of them are not.
The ratio is {a}:{b}, and the point is ({a}, {b}).
Wait, {a} - {b} is not what was asked.
Okay, so {name} has {a} {item}, hmm, and {b} are gone.
"""),
    "Latin": templates("""
Primero, {a} + {b} = {c}.
Ana tiene {a} manzanas y compra {b} más.
D'abord, {a} + {b} = {c}.
Il y a {a} pommes et {b} poires.
Zuerst rechnen wir {a} + {b} = {c}.
Anna hat {a} Äpfel und kauft {b} dazu.
"""),
    "Chinese": templates("""
小明有{a}个苹果，又买了{b}个。
首先计算 {a} + {b} = {c}。
第1步：{a} × {b} = {e}。
已知每个{a}元，共买{b}个。
设有x个，则 x + {a} = {c}，解得 x = {b}。
其中{a}%是红色的，还有（{b}）个。
"""),
    "Russian": templates("""
У Маши было {a} яблок, и она купила ещё {b}.
Сначала найдём сумму: {a} + {b} = {c}.
Шаг 1: {a} × {b} = {e}.
Одна тетрадь стоит {a} рублей, всего их {b}.
Это {a}% от всех яблок (их {b}).
"""),
    "Korean": templates("""
철수는 사과 {a}개를 가지고 있고 {b}개를 더 샀습니다.
먼저 {a} + {b} = {c} 입니다.
1단계: {a} × {b} = {e}
한 권에 {a}원이고 모두 {b}권입니다.
"""),
    "Japanese": templates("""
太郎は{a}個のりんごを持っていて、{b}個買いました。
まず、{a} + {b} = {c} です。
ステップ1：{a} × {b} = {e}
"""),
    "Arabic": templates("""
كان لدى أحمد {a} تفاحة ثم اشترى {b} أخرى.
أولاً نحسب {a} + {b} = {c}.
الخطوة 1: {a} × {b} = {e}
ثمن الكتاب {a} دولارًا، وعدد الكتب {b}.
"""),
}
BARE = {  # last sentences without a marker: their last number is the answer
    "English": templates("""
So {name} has {x} {item} left.
In total, that makes {x} {item}.
Therefore, {name} needs {x} {item}
So the total is {x}.
Total = {x}
Result: {x}
So we get x = {x}
Hence, it comes to **{x}**.
{x}
{x} {item}
"""),
    "Latin": templates("""
La respuesta es {x}.
Por lo tanto, quedan {x} manzanas.
Respuesta final: {x}
La réponse est {x}.
Il reste donc {x} pommes.
Die Antwort ist {x}.
Also hat Anna {x} Äpfel.
"""),
    "Chinese": templates("""
因此，最终答案为{x}元。
所以一共有{x}个苹果。
答案是{x}。
答案：{x}
最终答案：**{x}**
综上所述，小明还剩{x}元！
故答案为：{x}．
因此温度为{x}度。
所以，小明需要 {x} 天。
"""),
    "Russian": templates("""
Итого {x} яблок.
Ответ: {x}
Ответ: {x}.
**Ответ:** {x} рублей
Следовательно, ответ равен {x}.
Таким образом, у Маши осталось {x} яблок.
Значит, получилось {x} руб.
"""),
    "Korean": templates("""
따라서 정답은 {x}입니다.
답: {x}
정답: {x}개
그러므로 총 {x}원입니다.
최종 답은 **{x}**입니다.
따라서 철수에게는 사과 {x}개가 남습니다.
"""),
    "Japanese": templates("""
したがって、答えは{x}です。
答え：{x}円
よって、合計は{x}個になります。
"""),
    "Arabic": templates("""
إذن الجواب هو {x}.
الإجابة النهائية: {x}
إذن المجموع {x} تفاحة.
لذلك دفع أحمد {x} دولارًا.
الجواب: **{x}**
"""),
}
BOXES = {
    "English": templates(r"""
$\boxed{{{x}}}$
\boxed{{{x}}}
The answer is $\boxed{{{x}}}$.
Therefore, the final answer is:¶¶\[ \boxed{{{x}}} \]
The final answer is: $\boxed{{{x}}}$. I hope it is correct.
\[¶\boxed{{{x}}}¶\]
So we get $$\boxed{{ {x} }}$$
**Final Answer**¶\[ \boxed{{{x}}} \]
Thus, the result is \( \boxed{{{x}}} \).
"""),
    "Latin": [r"La respuesta es $\boxed{{{x}}}$.", r"Die Antwort ist \boxed{{{x}}}."],
    "Chinese": templates(r"""
所以答案是 $\boxed{{{x}}}$。
最终答案为 \boxed{{{x}}}。
因此，¶\[ \boxed{{{x}}} \]
"""),
    "Russian": [r"Ответ: $\boxed{{{x}}}$", r"Таким образом, ответ: \boxed{{{x}}}."],
    "Korean": [r"따라서 정답은 $\boxed{{{x}}}$입니다.", r"답: \boxed{{{x}}}"],
    "Japanese": [r"したがって、答えは $\boxed{{{x}}}$ です。"],
    "Arabic": [r"إذن الجواب هو $\boxed{{{x}}}$.", r"الإجابة النهائية: \boxed{{{x}}}"],
}
MARKED = templates("""
The answer is {x}.
The answer is {x}
The answer is: {x}
So the answer is {x}.
Therefore, the answer is **{x}**.
The final answer is {x}.
Thus, the final answer is {x}!
The correct answer is {x}.
Hence the answer to the problem is {x}.
Answer: {x}
**Answer:** {x}
**Answer: {x}**
ANSWER: {x}
**Final Answer:** {x}
Final answer: {x}.
### Final Answer¶{x}
**Final Answer**¶¶{x}
<answer>{x}</answer>
<answer> {x} </answer>
#### {x}
####{x}
Either way, the answer is {x}.
""")
TAILS = {  # behind an answer in a box or behind a marker
    "English": templates("""
¶¶Check: {a} + {b} = {c}, as required.
¶¶Let me verify: {c} - {b} = {a}. Correct!
¶This matches the {a} {item} of the problem.
¶I hope it is correct.
¶The answer is correct.
¶I checked the answer: {a} + {b} = {c}.
¶¶I hope this answer helps! ({a} of the {item} were not needed.)
¶With {a} or {b} boxes it would be the same.
"""),
    "Latin": ["\nComprobación: {a} + {b} = {c}."],
    "Chinese": ["\n\n验证：{a} + {b} = {c}，符合题意。"],
    "Russian": ["\nПроверка: {a} + {b} = {c}."],
    "Korean": ["\n검산: {a} + {b} = {c}"],
    "Japanese": ["\n検算：{a} + {b} = {c}"],
    "Arabic": ["\nالتحقق: {a} + {b} = {c}"],
}
ENDS = ["<|im_end|>", "</s>", "<|endoftext|>", "<|eot_id|>", "\n", "\n\n"]


def fill(rng: random.Random, template: str, others: list[int], **known: str) -> str:
    """The template with a name, an item and numbers, which are added to `others`."""
    a, b = rng.randint(2, 60), rng.randint(2, 60)
    numbers = {"a": a, "b": b, "c": a + b, "e": a * b}
    others += [value for name, value in numbers.items() if "{" + name + "}" in template]
    return template.format(**numbers, name=rng.choice(NAMES), item=rng.choice(ITEMS), **known)


def reason(rng: random.Random, script: str, others: list[int], least: int = 0) -> str:
    lines = [rng.choice(REASONING[script]) for _ in range(rng.randint(least, 3))]
    separator = rng.choice(["\n", "\n", "\n\n", " "]) if script != "English" else "\n"
    return "".join(fill(rng, line, others) + separator for line in lines)


def frame(
    rng: random.Random,
    statement: str,
    others: list[int],
    script: str = "English",
    tail: bool = False,
) -> tuple[str, list[int]]:
    """Reasoning, the statement, perhaps a check behind it; some with a thought before it."""
    text = reason(rng, script, others) + statement
    if tail and rng.random() < 0.3:
        text += fill(rng, rng.choice(TAILS[script]), others)
    if rng.random() < 0.15:
        thought = reason(rng, script, others, least=1)
        others.append(guess := rng.randint(2, 99))
        doubt = f"So the answer is {guess}. Wait, that is wrong." if rng.random() < 0.5 else "OK."
        text = f"<think>\n{thought}{doubt}\n</think>\n\n{text}"
    return text + (rng.choice(ENDS) if rng.random() < 0.15 else ""), others


def boxed(rng: random.Random, latex: str, script: str = "English") -> tuple[str, list[int]]:
    return frame(rng, rng.choice(BOXES[script]).format(x=latex), [], script, tail=True)


def marked(rng: random.Random, plain: str) -> tuple[str, list[int]]:
    shapes = [shape for shape in MARKED if not ("*" in shape and "*" in plain)]
    return frame(rng, rng.choice(shapes).format(x=plain), [], tail=True)


def bare(rng: random.Random, plain: str, script: str = "English") -> tuple[str, list[int]]:
    others: list[int] = []
    shapes = [shape for shape in BARE[script] if not (plain[0] == "-" and shape[0] == "{")]
    return frame(rng, fill(rng, rng.choice(shapes), others, x=plain), others, script)


def maths(rng: random.Random, latex: str) -> tuple[str, list[int]]:
    """LaTeX in a box, or between dollars behind a marker."""
    if rng.random() < 0.6:
        return boxed(rng, latex, rng.choice(["English"] * 6 + list(BOXES)))
    return marked(rng, rng.choice([f"${latex}$", f"\\({latex}\\)", f"${latex}$"]))


def spaced(rng: random.Random, latex: str) -> str:
    """The same LaTeX with other blanks around its signs and behind its commas."""
    if rng.random() < 0.5:
        return latex
    for sign in "+-=<>":
        latex = latex.replace(f" {sign} ", sign)
    return latex.replace(", ", ",")


# --- Numbers --------------------------------------------------------------------------------------


def number(rng: random.Random) -> Fraction:
    draw = rng.random()
    if draw < 0.45:
        return Fraction(rng.randint(0, 100))
    if draw < 0.7:
        return Fraction(rng.randint(100, 9999))
    if draw < 0.78:
        return Fraction(rng.randint(10**4, 10**7))
    if draw < 0.86:
        return Fraction(-rng.randint(1, 500))
    return Fraction(rng.randint(1, 9999), rng.choice([10, 100, 4, 2]))


def decimal(value: Fraction, places: int = 0, comma: bool = False) -> str:
    """A terminating value as a decimal: "-1,234.50"."""
    while value * 10**places % 1:
        places += 1
    digits = str(abs(value.numerator * 10**places // value.denominator)).zfill(places + 1)
    whole, rest = (digits[:-places], "." + digits[-places:]) if places else (digits, "")
    sign = "-" if value < 0 else ""
    return sign + (f"{int(whole):,}" if comma else whole) + rest


def plain_number(rng: random.Random, value: Fraction) -> str:
    places = 2 if value % 1 and rng.random() < 0.3 else 0
    return decimal(value, places, comma=rng.random() < 0.4)


def number_gold(rng: random.Random, value: Fraction) -> Gold:
    """A gold of this value, as data sets and callers state it."""
    text = decimal(value, comma=rng.random() < 0.2)
    golds: list[Gold] = [text, text, text, f"${text}$", f"#### {text}", decimal(value, places=2)]
    golds += [f"Tom has 3 + 4 = <<3+4=7>>7 books.\nThat costs ${text}.\n#### {text}"]
    golds += [rf"We add $2$ and $5$, so it is $\boxed{{{text}}}$.", float(value)]
    golds += [int(value)] * 3 if value.denominator == 1 else [str(value)]
    return rng.choice(golds)


def near_values(rng: random.Random, value: Fraction) -> list[Fraction]:
    digits = decimal(abs(value)).replace(".", "")
    near = [value + 1, value - 1, -value, value * 10, value / 100, value + Fraction(1, 2)]
    near += [Fraction(digits[:-1] or "0"), Fraction(digits[1:] or "0"), Fraction(digits[::-1])]
    near += [Fraction(rng.randint(0, 100)), Fraction(digits), Fraction(int(value))]
    return [other for other in near if other != value]


def structured(rng: random.Random, value: Fraction) -> list[Gold]:
    """Golds that hold the number and are another answer."""
    if value.denominator != 1 or not 2 <= value <= 99:
        return []
    n, m = int(value), rng.choice([k for k in range(2, 30) if k != value])
    golds = [f"({n}, {m})", f"({m}, {n})", f"{n} or {m}", rf"{m} \text{{ and }} {n}", f"{n}:{m}"]
    golds += [rf"\{{{m}, {n}\}}", rf"{n}\pi", rf"{n}\sqrt{{2}}", rf"x+{n}", f"{n}x", f"x^2+y^2={n}"]
    golds += [f"3x + 4y - {n} = 0", f"{m}, {n}", f"[{n}, {n + m}]", rf"x \le {n}", rf"\pm {n}"]
    golds += [rf"\begin{{pmatrix}} {n} & 0 \\ 1 & {m} \end{{pmatrix}}", rf"(-\infty, {n}]"]
    golds += [rf"\text{{June {n}}}"] if n <= 30 else []
    golds += [f"{n}_8"] if n > 9 and not set(str(n)) & set("89") else []
    golds += [f"x = {m}, y = {n}", f"{m} hours and {n} minutes"]
    return golds


def numeric(
    rng: random.Random,
    value: Fraction,
    write: Callable[[random.Random], tuple[str, list[int]]],
    misses: list[Gold] | None = None,
) -> Draw:
    near = [number_gold(rng, rng.choice(near_values(rng, value))) for _ in range(2)]
    special = rng.random()
    if misses and special < 0.5:
        near = misses
    elif special < 0.75:
        near = structured(rng, value) or near
    return Draw(value, write, [number_gold(rng, value)], near, number=True)


def marked_number(rng):
    value = number(rng)

    def write(rng):
        x = plain_number(rng, value)
        unit = rng.choice(["", "", "", " " + rng.choice(ITEMS), " dollars", " miles per hour"])
        why = [
            ", since {a} + {b} = {c}",
            " because {a} + {b} = {c}",
            " ({a} + {b})",
            ", as {a} < {c}",
        ]
        if rng.random() < 0.15:
            others: list[int] = []
            reasons = fill(rng, rng.choice(why), others)
            return frame(rng, f"The answer is {x}{unit}{reasons}.", others, tail=True)
        if rng.random() < 0.2:
            return marked(rng, rng.choice([f"${x}$", f"\\({x}\\)", f"$x = {x}$"]))
        x = x.replace("-", "\u2212") if rng.random() < 0.3 else x
        return marked(rng, x + unit)

    return numeric(rng, value, write)


def boxed_number(rng):
    value = number(rng)

    def write(rng):
        x = plain_number(rng, value).replace(",", rng.choice([",", "{,}", ",\\!"]))
        forms = [x, x, x, rf"\text{{{x}}}" if "\\" not in x and "{" not in x else x, f"x = {x}"]
        return boxed(rng, rng.choice([*forms, f"n={x}", x + "."]))

    return numeric(rng, value, write)


def gsm8k_number(rng):
    """Chains of GSM8K and of tiny models: sums on lines, then ####."""
    values = [Fraction(rng.randint(2, 99))]
    operations = [rng.choice("+-*") for _ in range(rng.randint(1, 4))]
    for sign in operations:
        operand = rng.randint(2, 60)
        left = values[-1]
        result = {"+": left + operand, "-": left - operand, "*": left * operand}[sign]
        values += [Fraction(operand), result]
    value = values[-1]

    def write(rng):
        lines, names = [], rng.random() < 0.5
        for n, sign in enumerate(operations):
            left, right, result = values[2 * n : 2 * n + 3]
            name = rng.choice(NAMES)
            short = f"{left}{sign}{right}"
            lines.append(
                f"{name} has {left} {sign} {right} = <<{short}={result}>>{result} books."
                if names
                else f"{short}={result}"
            )
        x = plain_number(rng, value)
        end = rng.choice([f"#### {x}", f"####{x}", f"#### ${x}".replace("$-", "-$"), f"A: {x}"])
        if end[0] == "#" and rng.random() < 0.2:
            lines.insert(0, f"#### {values[1]}\nWait")
        lines.append(end + rng.choice(["", "", "", "<|im_end|>", "</s><pad><pad>", "\n"]))
        return "\n".join(lines), [int(other) for other in values]

    return numeric(rng, value, write)


def bare_number(*scripts: str) -> Callable[[random.Random], Draw]:
    def draw(rng):
        value = number(rng)

        def write(rng):
            script, x = rng.choice(scripts), plain_number(rng, value)
            return bare(rng, x, script) if rng.random() < 0.7 else boxed(rng, x, script)

        return numeric(rng, value, write)

    return draw


FONTS = templates(r"""
\textcolor{red}{X}
\color{blue}{X}
{\color{red} X}
\underline{X}
\bf X
{\bf X}
\large{X}
\Large X
\huge X
\hspace{1em}X
\quad X
\,X\,
\;X
\mathbf{X}
\boldsymbol{X}
\textbf{X}
\mathrm{X}
\displaystyle X
\textit{X}
\mbox{X}
\underline{\mathbf{X}}
\textbf{\underline{X}}
\textcolor{blue}{\mathbf{X}}
\colorbox{yellow}{X}
\boxed{X}
{X}
""")


def decorated_number(rng):
    value = Fraction(rng.randint(2, 9999))

    def write(rng):
        x = str(value)
        draw = rng.random()
        if draw < 0.1:
            box = rng.choice([r"\framebox{X}", r"\fbox{X}", r"$\fbox{X}$", r"$\framebox{X}$"])
            return frame(rng, f"So we get {box.replace('X', x)}", [])
        if draw < 0.3:
            form = rng.choice(["**X**", "__X__", "*X*", "`X`", "_X_", "***X***"])
            return marked(rng, form.replace("X", x))
        font = rng.choice(FONTS).replace("X", x)
        if draw < 0.4 and "color" not in font:
            return marked(rng, f"${font}$")
        return boxed(rng, font)

    misses = [int(f"1{value}"), 1, int(f"{value}1"), int(str(value)[:-1] or 0)]
    return numeric(rng, value, write, [miss for miss in misses if miss != value])


def punctuated_number(rng):
    value = Fraction(rng.randint(0, 9999))
    forms = [
        "A: {x}",
        "=> {x}",
        "{x}!",
        "{x} ✓",
        "-> {x}",
        "→ {x}",
        "{x} ✅",
        "A: {x}.",
        "Ans: {x}",
        "∴ {x}",
    ]
    forms += [
        "So it is {x}!",
        "So x = {x} ✓",
        "⇒ {x}",
        "The answer is {x} ✓",
        "The answer is {x}!!",
    ]

    def write(rng):
        x = plain_number(rng, value)
        return frame(rng, rng.choice(forms).format(x=x), [])

    return numeric(rng, value, write)


def currency(rng):
    value = Fraction(rng.randint(1, 200000), rng.choice([1, 1, 100, 4]))

    def write(rng):
        x = decimal(value, rng.choice([0, 2]), comma=rng.random() < 0.6)
        if rng.random() < 0.35:
            return boxed(
                rng,
                rng.choice([rf"\${x}", rf"\$ {x}", rf"\text{{\${x}}}", rf"{x} \text{{ dollars}}"]),
            )
        form = rng.choice("${x}|€{x}|£{x}|₹{x}|{x} dollars|{x} USD|{x} euros|$\\${x}$".split("|"))
        if rng.random() < 0.5 and "\\" not in form:
            others: list[int] = []
            last = rng.choice(["So {name} paid", "In total that costs", "The profit is"])
            return frame(rng, f"{fill(rng, last, others)} {form.format(x=x)}.", others)
        return marked(rng, form.format(x=x))

    misses = [int(value)] * (value % 1 != 0) + [decimal(value * 100)]
    return numeric(rng, value, write, misses)


UNITS = "cm|km|kg|miles|miles per hour|km/h|square feet|cm^2|cm²|m^2|m³|mph|cubic inches"
UNITS = f"{UNITS}|hours|people|mL|ft^2|m|in^2|m/s|m/s^2|inches^2|degrees".split("|")
LATEX_UNITS = templates(r"""
{x} \text{ cm}
{x}\text{ cm}^2
{x}\,\text{cm}^2
{x}\ \mathrm{m/s}
{x} \text{ square inches}
{x} \mbox{ inches}^2
{x}\text{ m}^3
{x}\;\text{km/h}
{x}\text{ m}^{2}
{x}\text{ cm}^{3}
{x}~\text{kg}
{x}\,\mathrm{cm}^3
{x}\text{ miles per hour}
{x}^\circ
{x}^{\circ}
{x}\%
""")


def latex_unit(rng: random.Random, x: object) -> str:
    return rng.choice(LATEX_UNITS).replace("{x}", str(x))


def answer_with_unit(rng):
    value = Fraction(rng.randint(4, 999), rng.choice([1, 1, 1, 2, 10]))

    def write(rng):
        x = plain_number(rng, value)
        if rng.random() < 0.45:
            return boxed(rng, latex_unit(rng, x))
        x = f"{x} {rng.choice(UNITS)}"
        if rng.random() < 0.3:
            return frame(rng, fill(rng, "So {name} needs ", []) + x + rng.choice([".", ""]), [])
        return marked(rng, x)

    misses = [2, 3, decimal(value) + "2", decimal(value) + "3"]
    return numeric(rng, value, write, [miss for miss in misses if Fraction(miss) != value])


def gold_with_unit(rng):
    value = rng.choice([2, 3]) if rng.random() < 0.4 else rng.randint(4, 999)
    unit = rng.choice(LATEX_UNITS) if rng.random() < 0.6 else "{x} " + rng.choice(UNITS)
    unit = rng.choice([unit] * 6 + [r"\${x}", r"{x} \text{ cm}^2"])

    def write(rng):
        x = str(value)
        draw = rng.random()
        if draw < 0.35:
            return boxed(rng, rng.choice([x, unit.replace("{x}", x)]))
        return marked(rng, x) if draw < 0.7 else bare(rng, x)

    other = rng.choice([k for k in range(4, 99) if k != value])
    misses = [unit.replace("{x}", str(other)), latex_unit(rng, other)]
    if value <= 3:
        misses += [rf"{other} \text{{ cm}}^{value}", f"{other} cm^{value}"]
        misses += [rf"{other} \mbox{{ inches}}^{value}"]
    return Draw(value, write, [unit.replace("{x}", str(value))], misses)


def percent(rng):
    value = Fraction(rng.randint(1, 150), rng.choice([1, 1, 1, 2]))

    def write(rng):
        x = decimal(value)
        if rng.random() < 0.4:
            x = rng.choice([rf"{x}\%", rf"{x} \%", rf"{x}\text{{ percent}}", f"{x}%"])
            return boxed(rng, x)
        x = rng.choice([f"{x}%", f"{x} %", f"{x} percent", f"${x}\\%$"])
        return marked(rng, x) if rng.random() < 0.6 else frame(rng, f"So the share is {x}.", [])

    golds = [decimal(value) + sign for sign in ("%", "\\%", "")] + [float(value)]
    draw = numeric(rng, value, write, [float(value / 100), decimal(value / 100)])
    return draw._replace(golds=golds)


def fraction(rng):
    value = Fraction(rng.randint(1, 30), rng.choice([2, 3, 4, 5, 7, 8, 9, 12]))
    value *= rng.choice([1, 1, 1, -1])
    if value.denominator == 1:
        value += Fraction(1, 3)
    top, bottom, sign = abs(value.numerator), value.denominator, "-" if value < 0 else ""

    def form(rng):
        k = rng.choice([1, 1, 1, 2, 3])
        shapes = [r"\frac{%d}{%d}", r"\frac{%d}{%d}", r"\dfrac{%d}{%d}", r"\tfrac{%d}{%d}", "%d/%d"]
        return sign + rng.choice(shapes) % (k * top, k * bottom)

    def write(rng):
        if rng.random() < 0.6:
            return maths(rng, form(rng))
        x = f"{sign}{top}/{bottom}"
        if 1000 % bottom == 0 and rng.random() < 0.4:
            x = decimal(value)
        return marked(rng, x) if rng.random() < 0.6 else bare(rng, x, rng.choice(list(BARE)))

    golds: list[Gold] = [form(rng), f"{sign}{top}/{bottom}"]
    golds += [decimal(value)] if 1000 % bottom == 0 else []
    misses = [f"{sign}{bottom}/{top}", top, bottom, -value, f"{sign}{top + 1}/{bottom}"]
    misses += [f"{sign}{top}/{bottom + 1}", f"{sign}{top}{bottom}", f"{float(value):.3f}"]
    misses = [str(miss) for miss in misses if Fraction(str(miss)) != value]
    return Draw(value, write, golds, misses, number=True)


def mixed(rng):
    bottom = rng.choice([2, 3, 4, 5, 8])
    top = rng.choice([k for k in range(1, bottom) if Fraction(k, bottom).denominator == bottom])
    whole, sign = rng.randint(1, 20), rng.choice([1, 1, 1, -1])
    value, minus = sign * (whole + Fraction(top, bottom)), "-" if sign < 0 else ""

    def write(rng):
        if rng.random() < 0.5:
            shape = rng.choice([r"%d\frac{%d}{%d}", r"%d \frac{%d}{%d}", r"%d\tfrac{%d}{%d}"])
            return boxed(rng, minus + shape % (whole, top, bottom))
        x = f"{minus}{whole} {top}/{bottom}"
        if (top, bottom) in ((1, 2), (1, 4), (3, 4)):
            x = rng.choice([x, f"{minus}{whole}{'½¼¾'[[2, 4].index(bottom) + (top == 3)]}"])
        x += rng.choice(["", " cups", " hours"])
        return marked(rng, x) if rng.random() < 0.7 else frame(rng, f"So it takes {x}.", [])

    improper = f"{value.numerator}/{value.denominator}"
    golds = [improper, rf"{minus}{whole}\frac{{{top}}}{{{bottom}}}"]
    golds += [f"{minus}{whole} {top}/{bottom}"]
    golds += [decimal(value)] if 1000 % bottom == 0 else []
    misses = [f"{minus}{whole}", f"{top}/{bottom}", f"{minus}{bottom}"]
    misses += [f"{minus}{whole}{top}/{bottom}"]
    misses += [str(-value), str(value + 1), str(whole * Fraction(top, bottom))]
    misses += [rf"{whole}\frac{{1}}{{9}}"]
    misses = [miss for miss in misses if "\\" in miss or Fraction(miss) != value]
    return Draw(value, write, golds, misses, number=True)


SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def scientific(rng):
    digits, power = Fraction(rng.randint(11, 99), 10), rng.choice([-4, -3, -2, 2, 3, 4, 5, 6, 8])
    value, m = digits * Fraction(10) ** power, decimal(digits)

    def write(rng):
        if rng.random() < 0.5:
            sign = rng.choice([r"\times", r"\times", r"\cdot"])
            return maths(rng, rf"{m} {sign} 10^{{{power}}}")
        raised = str(power).translate(SUPERSCRIPT)
        x = rng.choice([f"{m}e{power}", f"{m} x 10^{power}", f"{m}×10{raised}"])
        x = rng.choice([x, f"{m} × 10^{power}", f"{m} * 10^{power}", f"{m}E{power}"])
        return marked(rng, x) if rng.random() < 0.6 else frame(rng, f"So the mass is {x} kg.", [])

    misses = [m, 10, abs(power), power, decimal(Fraction(10) ** power)]
    misses += [decimal(value * 10), decimal(value / 10)]
    golds = [decimal(value), decimal(value, comma=True), rf"{m} \times 10^{{{power}}}"]
    golds += [f"{m}e{power}"]
    return Draw(value, write, golds, misses, number=True)


def thousands(rng):
    value = rng.randint(1000, 10 ** rng.choice([4, 5, 6, 7, 9]))
    groups = f"{value:,}".split(",")

    def write(rng):
        if rng.random() < 0.5:
            return boxed(rng, rng.choice([",", "{,}", r",\!", r"\,"]).join(groups))
        x = rng.choice([",", ",", "\u202f", "\u00a0"]).join(groups)
        return marked(rng, x) if rng.random() < 0.5 else bare(rng, x, rng.choice(list(BARE)))

    misses = [groups[0], groups[-1], "".join(groups[:-1]), "".join(groups[1:])]
    misses += [int(groups[0]), int(groups[-1])]
    return numeric(rng, Fraction(value), write, [miss for miss in misses if int(miss) != value])


TURNS = templates(r"""
Wait, I made a mistake.
Hmm, let me recompute.
No, that is wrong.
Correction:
Sorry,
""")


def corrected(rng):
    """Several statements: the last one counts."""
    value, wrong = (Fraction(k) for k in rng.sample(range(2, 500), 2))

    def statement(rng, x):
        shapes = MARKED if rng.random() < 0.6 else BOXES["English"]
        return rng.choice(shapes).format(x=x)

    def write(rng):
        draw = rng.random()
        if draw < 0.2:  # the same answer again
            again = "\n".join(statement(rng, value) for _ in range(rng.randint(2, 4)))
            return frame(rng, again, [], tail=True)
        if draw < 0.3:
            last = ["The answer is {x} (that is, {x} books)."]
            last += ["The answer is {x}, and we are done."]
            return frame(rng, rng.choice(last).format(x=value), [])
        if draw < 0.4:
            first = f"The answer is {wrong} or {wrong + 2}. Let me check which.\n"
        else:
            first = f"{statement(rng, wrong)}\n{rng.choice(TURNS)}\n"
        others = [int(wrong)]
        text = first + reason(rng, "English", others) + statement(rng, value)
        return frame(rng, text, others, tail=True)

    return numeric(rng, value, write, [int(wrong), str(wrong)])


def unfinished_thought(rng):
    value = rng.randint(2, 500)

    def write(rng):
        said = rng.choice([*BOXES["English"], *MARKED]).format(x=value)
        if rng.random() < 0.3:
            said = f"So it is {value}."
        end = rng.choice(["", " Wait,", "\nHmm"])
        return f"<think>\n{reason(rng, 'English', [])}{said}{end}", []

    return Draw(None, write, [], [value, str(value), rf"\boxed{{{value}}}"])


# --- Hedges and negations -------------------------------------------------------------------------

HEDGES = templates(r"""
{a} or {b}
either {a} or {b}
{a}, {b}, {c}
{a}, {b} or {c}
{a} or {b} or {c}
{a} and {b}
{a} or maybe {b}
{a} (or {b})
{a}, or {b}
maybe {a}, maybe {b}
{a} and/or {b}
{a} to {b}
between {a} and {b}
one of {a}, {b} and {c}
one of {a}, {b}, {c}
{a} {item} or {b} {item}
{a} or {b} {item}
**{a}** or **{b}**
${a}$ or ${b}$
{a}, {b}, and {c}
either {a} {item} or {b}
{a} or possibly {b}
{a}-{b}
{a} – {b}
from {a} to {b}
\({a}\) or \({b}\)
${a} or ${b}
""")
BOX_HEDGES = templates(r"""
{a} \text{{ or }} {b}
{a} or {b}
{a}, {b}
{a} \text{{ and }} {b}
{a}, {b}, {c}
{a} \lor {b}
\text{{either }} {a} \text{{ or }} {b}
{a}\text{{ or }}{b}
\{{{a}, {b}\}}
{a} \text{{ to }} {b}
\text{{between }} {a} \text{{ and }} {b}
{a}; {b}
{a} \quad {b}
""")


def values_of(rng) -> dict[str, int]:
    a = rng.randint(2, 60)
    return {"a": a, "b": a + rng.randint(1, 5), "c": a + rng.randint(6, 9)}


def hedge(rng):
    values = values_of(rng)
    in_box = rng.random() < 0.3
    shape = rng.choice(BOX_HEDGES if in_box else HEDGES)
    said = shape.format(**values, item=rng.choice(ITEMS))

    def write(rng):
        return boxed(rng, said) if in_box else marked(rng, said)

    misses = [value for name, value in values.items() if "{" + name + "}" in shape]
    misses += [str(value) for value in misses] + [rf"{value} \text{{ cm}}" for value in misses]
    golds = ["{a} or {b}".format(**values)] if shape == "{a} or {b}" else []
    return Draw(None, write, golds, misses)


BARE_HEDGES = templates("""
So {name} has {a} or {b} {item}.
So {name} has either {a} or {b} {item} left.
It is either {a} or {b}.
{a} or {b}
either {a} or {b}
So we get x = {a} or x = {b}.
x = {a} or {b}
So it is {a} or {b}
So the total is {a} or {b} {item}.
""")


def unmarked_hedge(rng):
    values = values_of(rng)
    shape = rng.choice(BARE_HEDGES)
    said = shape.format(**values, item=rng.choice(ITEMS), name=rng.choice(NAMES))

    def write(rng):
        return frame(rng, said, [])

    return Draw(None, write, [], [values["a"], values["b"], str(values["a"]), str(values["b"])])


NOT = templates(r"""
The answer is not {a}.
The answer isn't {a}.
The answer is definitely not {a}.
Answer: not {a}
The answer cannot be {a}.
The answer can't be {a}.
The answer was not {a}.
#### not {a}
The final answer is not {a}.
The answer is certainly not {a}!
The answer is **not** {a}.
The correct answer is not {a}, but I do not know what it is.
\boxed{{\text{{not }} {a}}}
$\boxed{{\neq {a}}}$
The answer is $\boxed{{x \ne {a}}}$.
The answer is not ${a}$.
<answer>not {a}</answer>
""")
BUT = templates(r"""
The answer is not {a} but {x}.
The answer is not {a}, it is {x}.
The answer is not {a}; it is {x}.
The answer is {x}, not {a}.
The answer is {x} (not {a}).
The answer is {x}, and not {a}.
The answer is {x} rather than {a}.
The answer is {x} instead of {a}.
The answer is {x} and not {a}.
The answer is not {a}. The answer is {x}.
The answer is not {a}, so \boxed{{{x}}}.
It is not {a}.¶#### {x}
""")


def negated(rng):
    wrong, value = rng.sample(range(2, 200), 2)
    if rng.random() < 0.5:
        said = rng.choice(NOT).format(a=wrong)
        return Draw(None, lambda rng: frame(rng, said, []), [], [wrong, str(wrong), f"${wrong}$"])

    def write(rng):
        return frame(rng, rng.choice(BUT).format(a=wrong, x=value), [wrong])

    return numeric(rng, Fraction(value), write, [wrong, str(wrong)])


NOTHING = templates(r"""
I don't know.
I cannot solve this problem.
¶
The answer is
\boxed{}
Let's think.
I'm sorry, but I can't help with that.
不知道。
Не знаю.
모르겠습니다.
لا أعرف.
""")


def nothing(rng):
    text = rng.choice(NOTHING)
    misses: list[Gold] = [0, 1, "0", "12", r"\frac{1}{2}", "x+1", "(1, 2)"]
    misses += [r"12 \text{ cm}^2", "5 and 7"]
    return Draw(None, lambda rng: (text, []), [], misses)


# --- Answers that are no single number ------------------------------------------------------------


CHOICES = templates("""
The correct option is {x}
The answer is Option ({x})
The answer is ({x}).
The correct option is ({x}).
The answer is {x}.
Answer: {x}
#### {x}
The correct answer is {x}) {v}.
The answer is ({x}) {v}.
Answer: ({x})
The answer is option {x}.
The best answer is {x}.
**Answer: {x}**
The correct choice is **({x})**.
The correct answer is **{x}. {v}**
The correct answer is choice {x}, because {y} is wrong.
Answer: {x}. {v} cm
""")
BOX_CHOICES = templates(r"""
{x}
\text{{{x}}}
\textbf{{({x})}}
\text{{({x})}}
({x})
{x}: {v}
\textbf{{({x}) }} {v}
\text{{{x}: the red one}}
\textbf{{({x})}}\ {v}
\mathrm{{({x})}}
{x}: Paris
\textbf{{{x}}}
""")


def choice(rng):
    letter, *rest = rng.sample("ABCDE", 3)

    def write(rng):
        value = rng.randint(2, 99)
        options = ""
        if rng.random() < 0.3:
            options = "".join(f"({name}) {rng.randint(2, 99)}\n" for name in "ABCDE") + "\n"
        elif rng.random() < 0.3:
            options = f"Option {rest[0]} is {value}, and ({rest[1]}) is too small.\n"
        in_box = rng.random() < 0.4
        shape = rng.choice(BOX_CHOICES if in_box else CHOICES)
        last = shape.format(x=letter, v=value, y=rest[0])
        if in_box:
            last = rng.choice(BOXES["English"]).format(x=last)
        return frame(rng, options + last, [])

    shapes = ["{x}", "{x}", "({x})", r"\text{{({x})}}", r"\textbf{{({x})}}", r"\text{{{x}}}"]
    golds = [shape.format(x=letter) for shape in shapes]
    return Draw(letter, write, golds, [shape.format(x=other) for shape in shapes for other in rest])


def matrix(rng):
    rows, columns = rng.choice([(2, 2), (2, 2), (2, 1), (3, 1), (3, 3)])
    environment = rng.choice(["pmatrix", "pmatrix", "bmatrix"])
    entries = [[rng.randint(-9, 9) for _ in range(columns)] for _ in range(rows)]

    def latex(entries, tight):
        cell, row = ("&", r"\\") if tight else (" & ", r" \\ ")
        body = row.join(cell.join(map(str, line)) for line in entries)
        edge = "" if tight else " "
        return rf"\begin{{{environment}}}{edge}{body}{edge}\end{{{environment}}}"

    changed = [line[:] for line in entries]
    changed[rng.randrange(rows)][rng.randrange(columns)] += rng.choice([1, -1, 10])
    others = [changed, entries[::-1], [[-x for x in line] for line in entries]]
    others += [[list(line) for line in zip(*entries, strict=True)]] if rows == columns else []
    misses: list[Gold] = [latex(other, rng.random() < 0.5) for other in others if other != entries]
    misses += [str(x) for x in entries[-1]] + [entries[0][0], rows]
    key = (environment, tuple(map(tuple, entries)))
    golds = [latex(entries, False), latex(entries, True)]
    return Draw(key, lambda rng: maths(rng, latex(entries, rng.random() < 0.5)), golds, misses)


def interval(rng):
    low, high = rng.randint(-20, 10), rng.randint(11, 40)
    left, right = rng.choice("(["), rng.choice(")]")
    ends = rng.choice([(str(low), str(high)), (r"-\infty", str(high)), (str(low), r"\infty")])
    left = "(" if "infty" in ends[0] else left
    right = ")" if "infty" in ends[1] else right

    def latex(left, ends, right):
        return f"{left}{ends[0]}, {ends[1]}{right}"

    union = rng.random() < 0.25
    more = rf" \cup ({high + 3}, \infty)" if union and "infty" not in ends[1] else ""

    def write(rng):
        text = latex(left, ends, right)
        if not more and rng.random() < 0.3:
            text = rf"\left{left}{ends[0]}, {ends[1]}\right{right}"
        return maths(rng, spaced(rng, text + more))

    full = latex(left, ends, right) + more
    misses: list[Gold] = [end for end in ends if "infty" not in end]
    misses += [latex(left, ends, right)] if more else []
    if "infty" not in ends[0]:
        misses += [latex(left, (str(low - 1), ends[1]), right) + more]
        misses += [latex("[" if left == "(" else "(", ends, right) + more]
    if "infty" not in ends[1]:
        misses += [latex(left, (ends[0], str(high + 1)), right) + more]
        misses += [latex(left, ends, "]" if right == ")" else ")") + more]
    return Draw(full, write, [full, full.replace(", ", ",")], misses)


def some_set(rng):
    items = sorted(rng.sample(range(-9, 30), rng.choice([2, 3, 3, 4])))

    def latex(items):
        return r"\{" + ", ".join(map(str, items)) + r"\}"

    def write(rng):
        text = spaced(rng, latex(items))
        if rng.random() < 0.2:
            text = text.replace(r"\{", r"\left\{").replace(r"\}", r"\right\}")
        return maths(rng, text)

    misses: list[Gold] = [latex([*items[:-1], items[-1] + 1]), latex(items[:-1])]
    misses += [latex([*items, 31])]
    misses += [str(items[0]), str(items[-1]), len(items), "(" + ", ".join(map(str, items)) + ")"]
    golds = [latex(items), latex(items).replace(", ", ",")]
    return Draw(tuple(items), write, golds, misses, [latex(items[::-1])])


def ordered_pair(rng):
    size = rng.choice([2, 2, 2, 3])
    items = [str(k) for k in rng.sample(range(-9, 30), size)]
    if rng.random() < 0.2:
        items[0] = rng.choice([r"\frac{1}{2}", r"-\frac{3}{4}", r"\sqrt{2}", r"\frac{2}{3}"])

    def latex(items):
        return "(" + ", ".join(items) + ")"

    def write(rng):
        text = spaced(rng, latex(items))
        if "\\" not in text and rng.random() < 0.4:
            return marked(rng, text)
        if rng.random() < 0.3:
            text = rf"\left({text[1:-1]}\right)"
        return maths(rng, text.replace(r"\frac", r"\dfrac") if rng.random() < 0.3 else text)

    misses: list[Gold] = [latex(items[::-1]), latex([*items[:-1], str(int(items[-1]) + 1)])]
    misses += [latex([*items, "1"]), latex(items[:-1]), items[-1], items[0]]
    misses += [", ".join(items), r"\{" + ", ".join(items) + r"\}"]
    golds = [latex(items), latex(items).replace(", ", ","), rf"\left({', '.join(items)}\right)"]
    return Draw(tuple(items), write, golds, misses)


def several(rng):
    size = rng.choice([2, 2, 3])
    numbers = rng.sample(range(2, 99), size) if rng.random() < 0.8 else [1331, 1728]
    a, b = numbers[:2]
    word = len(numbers) == 2 and rng.random() < 0.6
    if word:
        joined, latex = f"{a} and {b}", rf"{a} \text{{ and }} {b}"
    else:
        joined = latex = ", ".join(map(str, numbers))

    def write(rng):
        if rng.random() < 0.5:
            tight = joined if word else joined.replace(", ", r",\ ")
            return boxed(rng, rng.choice([joined, latex, tight]))
        return marked(rng, joined)

    golds = [joined, latex]
    misses: list[Gold] = [*numbers, *map(str, numbers), f"({a}, {b})"]
    misses += [f"{a} and {b + 1}" if word else f"{a}, {b + 1}"]
    return Draw(tuple(sorted(numbers)), write, golds, misses)


def coefficient(k: int, name: str) -> str:
    return f"{'-' if k < 0 else ''}{'' if abs(k) == 1 else abs(k)}{name}"


def signed(k: int, name: str = "") -> str:
    """A later term of a sum: " - 3x"."""
    return f" {'-' if k < 0 else '+'} {'' if name and abs(k) == 1 else abs(k)}{name}"


def nonzero(rng, low=-9, high=20):
    return rng.choice([k for k in range(low, high) if k])


def equation(rng):
    a, b, c = rng.randint(2, 9), nonzero(rng), nonzero(rng)
    shape = rng.choice(["line", "slope", "circle"])

    def latex(a, b, c):
        if shape == "line":
            return f"{coefficient(a, 'x')}{signed(b, 'y')}{signed(c)} = 0"
        if shape == "slope":
            return f"y = {coefficient(a, 'x')}{signed(c)}"
        return f"(x{signed(b)})^2{signed(a, 'y^2')} = {abs(c)}"

    full = latex(a, b, c)
    others = [latex(a, b, c + 1 + (c == -1)), latex(a + 1, b, c), latex(a, b, -2 * c)]
    others += [latex(a, b + 1 + (b == -1), c)]
    misses: list[Gold] = [other for other in others if other != full] + [0, str(abs(c)), c, a, "0"]
    golds = [full, full.replace(" ", ""), f"${full}$"]
    return Draw(full, lambda rng: maths(rng, spaced(rng, full)), golds, misses)


def expression(rng):
    a, b, c = rng.randint(2, 9), nonzero(rng), nonzero(rng)
    shape = rng.choice(["linear", "square", "fraction", "product", "two"])

    def latex(a, b, c):
        return {
            "linear": f"{coefficient(a, 'x')}{signed(c)}",
            "square": f"{coefficient(a, 'x^2')}{signed(b, 'x')}{signed(c)}",
            "fraction": rf"\frac{{x{signed(c)}}}{{{a}}}",
            "product": f"(x + {a})({'y'}{signed(c)})",
            "two": f"{a}xy{signed(c)}",
        }[shape]

    full = latex(a, b, c)
    others = [latex(a, b, c + 1 + (c == -1)), latex(a + 1, b, c), latex(a, b, -c), latex(a, -b, c)]
    misses: list[Gold] = [other for other in others if other != full] + [a, str(abs(c)), c, str(c)]
    golds = [full, full.replace(" ", ""), f"${full}$"]
    turned = {"linear": f"{c}{signed(a, 'x')}", "two": f"{c}{signed(a, 'xy')}"}
    more = [turned[shape]] if shape in turned else []
    return Draw(full, lambda rng: maths(rng, spaced(rng, full)), golds, misses, more)


def irrational(rng):
    k, root, power = rng.randint(2, 9), rng.choice([2, 3, 5, 6, 7, 10, 11]), rng.randint(5, 99)
    base = rng.choice([2, 3, 5, 7])
    shape = rng.choice(["root", "half", "pi", "sum", "power", "inverse", "angle"])

    def latex(k, root, power):
        return {
            "root": rf"{k}\sqrt{{{root}}}",
            "half": rf"\frac{{\sqrt{{{root}}}}}{{{k}}}",
            "pi": rf"{k}\pi",
            "sum": rf"{k} + 2\sqrt{{{root}}}",
            "power": rf"{base}^{{{power}}}",
            "inverse": rf"\frac{{1}}{{{base}^{{{power}}}}}",
            "angle": rf"\frac{{\pi}}{{{k}}}",
        }[shape]

    full = latex(k, root, power)
    others = [latex(k + 1, root, power), latex(k, 13, power), latex(k, root, power - 1)]
    others += [latex(k, root, power + 10)]
    misses: list[Gold] = [other for other in others if other != full]
    misses += [k + 1, str(power), base, "-" + full]
    misses += [k] if shape not in ("power", "inverse") else []
    golds = [full, full.replace(" ", ""), f"${full}$", full.replace(r"\frac", r"\dfrac")]
    same = {"root": rf"\sqrt{{{k * k * root}}}", "pi": rf"\pi \cdot {k}"}
    same["sum"] = rf"2\sqrt{{{root}}} + {k}"
    if shape == "power" and base**power < 10**9:
        same["power"] = str(base**power)
    more = [same[shape]] if shape in same else []
    return Draw(full, lambda rng: maths(rng, spaced(rng, full)), golds, misses, more)


def other_base(rng):
    base = rng.choice([2, 3, 4, 5, 6, 7, 8, 9])
    size = rng.randint(1, 4)
    digits = str(rng.randint(1, base - 1))
    digits += "".join(str(rng.randrange(base)) for _ in range(size))
    braces = rng.random() < 0.5

    def latex(digits, base, braces):
        return f"{digits}_{{{base}}}" if braces else f"{digits}_{base}"

    def write(rng):
        return maths(rng, latex(digits, base, braces))

    other = base + 1 if base < 9 else 16
    misses: list[Gold] = [digits, int(digits), base]
    misses += [latex(digits, other, braces), latex(digits, other, not braces)]
    misses += [latex(digits + "1", base, braces), digits + str(base)]
    misses += [latex(digits[::-1], base, braces)] if digits[::-1] != digits else []
    golds = [latex(digits, base, braces)]
    return Draw((digits, base), write, golds, misses, [latex(digits, base, not braces)])


def time_or_ratio(rng):
    if rng.random() < 0.5:
        hour, minute = rng.randint(1, 12), rng.randint(10, 59)
        others = [f"{hour % 12 + 1}:{minute}", f"{hour}:{(minute - 9) % 50 + 10}"]
    else:
        hour, minute = rng.sample([2, 3, 5, 7, 11, 13], 2)
        others = [f"{minute}:{hour}", f"{hour}:{minute + 4}", f"{hour + 4}:{minute}"]
    text = f"{hour}:{minute}"

    def write(rng):
        draw = rng.random()
        return boxed(rng, text) if draw < 0.5 else marked(rng, text if draw < 0.75 else f"${text}$")

    misses = [other for other in others if other != text] + [hour, minute, str(hour), str(minute)]
    misses += [f"{hour}{minute}", f"{hour + 1}:{minute + 1}"]
    return Draw(text, write, [text, text, f"${text}$"], misses)


def compound(rng):
    """Numbers of several parts, which no part stands for."""
    a, b = rng.sample(range(2, 12), 2)
    draw = rng.random()
    latex = None
    if draw < 0.35:
        pairs = [("hours", "minutes"), ("feet", "inches"), ("dollars", "cents"), ("weeks", "days")]
        big, small = rng.choice(pairs)
        if rng.random() < 0.5:
            text = f"{a} {big} and {b} {small}"
            latex = rf"{a} \text{{ {big} and }} {b} \text{{ {small}}}"
        else:
            text = f"{a} {big} {b} {small}"
            latex = rf"{a} \text{{ {big} }} {b} \text{{ {small}}}"
        parts = [a, b, f"{a}{b}", f"{a + 1} {big} and {b} {small}"]
    elif draw < 0.55:
        text, parts = f"{a} and 1/{b}", [a, f"1/{b}", b, f"{a} and 1/{b + 1}", 1]
    elif draw < 0.8:
        rest = [f"{rng.choice([0, 345, 678, 12]):03d}" for _ in range(rng.randint(1, 2))]
        groups = [str(a), *rest]
        text, parts = " ".join(groups), [a, groups[-1], int(groups[-1]), f"{a}{groups[-1]}1"]
        parts += [int("".join(groups[:-1]))]
    elif draw < 0.9:
        groups = [str(a), "34", rng.choice(["567", "000", "120"])]
        text, parts = ",".join(groups), [a, 34, int(groups[-1]), f"34{groups[-1]}", int(f"{a}34")]
    else:
        text = latex = rf"0.\overline{{{a % 9 + 1}}}"
        parts = [f"0.{a % 9 + 1}", a % 9 + 1, 0, rf"0.\overline{{{a % 9 + 2}}}"]
    in_prose = latex != text and rng.random() < 0.3

    def write(rng):
        if latex == text:
            return maths(rng, text)
        if in_prose:
            return frame(rng, f"So {rng.choice(NAMES)} needs {text}.", [])
        return boxed(rng, latex or text) if rng.random() < 0.5 else marked(rng, text)

    return Draw(None, write, [] if in_prose else [text], parts)


MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "October"]


def date(rng):
    (month, other), day = rng.sample(MONTHS, 2), rng.randint(1, 28)

    def write(rng):
        text = f"{month} {day}"
        return boxed(rng, rf"\text{{{text}}}") if rng.random() < 0.5 else marked(rng, text)

    golds = [rf"\text{{{month} {day}}}", f"{month} {day}"]
    misses = [
        rf"\text{{{other} {day}}}",
        rf"\text{{{month} {day + 1}}}",
        f"{other} {day}",
        day + 1,
        f"{month} {day}1",
    ]
    return Draw((month, day), write, golds, misses)


WORDS = ["Paris", "Tuesday", "Saturn", "Alice", "Monday", "Rome", "Evelyn", "Navin"]


def word(rng):
    if rng.random() < 0.3:
        answer, other = rng.sample(["yes", "no"], 2)
        said = [
            "So the answer is {x}.",
            "The answer is {x}.",
            "Answer: {x}",
            r"\boxed{{\text{{{x}}}}}",
        ]
    else:
        answer, other = rng.sample(WORDS, 2)
        said = [
            "The answer is {x}.",
            "So the answer is **{x}**.",
            r"\boxed{{\text{{{x}}}}}",
            r"$\boxed{{\text{{{x}}}}}$",
        ]
    golds = [answer, rf"\text{{{answer}}}", answer.capitalize()]
    misses: list[Gold] = [other, rf"\text{{{other}}}", answer[:-1], 0, "12"]

    def write(rng):
        return frame(rng, rng.choice(said).format(x=answer), [])

    return Draw(answer, write, golds, misses)


def juxtaposed(rng):
    """2(3) is a product: what math-verify once read as a sum."""
    a, b = rng.choice([(2, 3), (10, 11), (3, 4), (5, 6), (4, 7), (2, 5), (7, 8), (3, 9)])
    draw = rng.random()
    if draw < 0.5:
        text, same, misses = f"{a}({b})", [a * b, str(a * b)], [a + b, f"{a}{b}", a, b, str(a + b)]
    elif draw < 0.7:
        text, same = rf"\sqrt{{{a}({b})}}", [rf"\sqrt{{{a * b}}}"]
        misses = [rf"\sqrt{{{a + b}}}", rf"\sqrt{{{a}{b}}}", a * b, rf"\sqrt{{{a}}}"]
    elif draw < 0.85:
        text, same = rf"{a}\frac12 + {b}", [f"{a + b}.5", rf"\frac{{{2 * (a + b) + 1}}}{{2}}"]
        misses = [a + b, rf"\frac{{{a}}}{{2}}", f"{a}.5", f"{a / 2 + b:.1f}", b]
    else:
        a, b = rng.randint(10, 99), rng.randint(100, 999)
        text, same, misses = rf"{a}\ {b}", [f"{a}{b}", int(f"{a}{b}")], [a, b, a * b, a + b]
    return Draw(None, lambda rng: boxed(rng, text), [text], misses, same)


def inequality(rng):
    n = rng.randint(2, 40)
    sign, other = rng.sample(["<", ">", r"\le", r"\ge"], 2)
    form, miss = (f"x {s} {n}" for s in (sign, other))
    if rng.random() < 0.3:
        form, miss = f"{n} < x < {n + 5}", f"{n} < x < {n + 6}"
    if rng.random() < 0.1:
        form, miss = rf"\pm {n}", rf"\pm {n + 1}"
    golds = [form, spaced(rng, form)]
    misses: list[Gold] = [miss, n, str(n), form.replace(str(n), str(n + 1)), n + 5]
    return Draw(form, lambda rng: maths(rng, spaced(rng, form)), golds, misses)


# --- All kinds ------------------------------------------------------------------------------------

KINDS: dict[str, tuple[int, Callable[[random.Random], Draw]]] = {  # weight, draw
    "marked number": (10, marked_number),
    "boxed number": (7, boxed_number),
    "#### number": (6, gsm8k_number),
    "English prose": (4, bare_number("English")),
    "other Latin prose": (2, bare_number("Latin")),
    "Chinese prose": (4, bare_number("Chinese")),
    "Russian prose": (3, bare_number("Russian")),
    "Korean or Japanese prose": (4, bare_number("Korean", "Japanese")),
    "Arabic prose": (3, bare_number("Arabic")),
    "fonts and colours": (4, decorated_number),
    "A: 73, 73!, => 73": (3, punctuated_number),
    "currency": (3, currency),
    "answer with unit": (4, answer_with_unit),
    "gold with unit": (4, gold_with_unit),
    "percent": (3, percent),
    "fraction": (3, fraction),
    "mixed number": (2, mixed),
    "scientific": (2, scientific),
    "thousands": (2, thousands),
    "several statements": (4, corrected),
    "unfinished thought": (2, unfinished_thought),
    "hedge": (5, hedge),
    "hedge, unmarked": (2, unmarked_hedge),
    "negation": (3, negated),
    "nothing stated": (1, nothing),
    "multiple choice": (4, choice),
    "matrix": (3, matrix),
    "interval": (2, interval),
    "set": (2, some_set),
    "ordered pair": (3, ordered_pair),
    "several values": (3, several),
    "equation": (3, equation),
    "expression": (3, expression),
    "root, power, pi": (3, irrational),
    "other base": (2, other_base),
    "time, ratio": (2, time_or_ratio),
    "compound": (3, compound),
    "date": (2, date),
    "word": (2, word),
    "juxtaposed": (2, juxtaposed),
    "inequality": (2, inequality),
}
_NAMES, _WEIGHTS = list(KINDS), [weight for weight, _ in KINDS.values()]


def generate(rng: random.Random) -> Case:
    """A text, a gold, and whether the text is right."""
    kind = rng.choices(_NAMES, _WEIGHTS)[0]
    draw = KINDS[kind][1](rng)
    text, others = draw.write(rng)
    misses = list(draw.misses)
    if draw.number:
        misses += [other for other in others if other != draw.key][:6]
    verdict: bool | None = rng.random() < 0.5
    if verdict and draw.symbolic and rng.random() < 0.4:
        gold, verdict = rng.choice(draw.symbolic), None
    elif (verdict and draw.golds) or not misses:
        gold, verdict = rng.choice(draw.golds), True
    else:
        gold, verdict = rng.choice(misses), False
    twin = rival = None
    if draw.key is not None and rng.random() < 0.3:
        twin = draw.write(rng)[0]
        another = KINDS[kind][1](rng)
        rival = another.write(rng)[0] if another.key not in (None, draw.key) else None
    return Case(text, gold, verdict, kind, twin, rival, draw.number)


# --- Grading them ---------------------------------------------------------------------------------


class Report(NamedTuple):
    cases: dict[str, int]
    faults: list[tuple[str, str, Case]]  # (kind, fault, case)
    seconds: dict[str, list[float]]  # of `is_correct` on one text

    def count(self, fault: str, kind: str | None = None) -> int:
        return sum(name == fault and kind in (None, of) for of, name, _ in self.faults)


@contextlib.contextmanager
def math_verify(installed: bool) -> Iterator[None]:
    """The grader as it is with or without the optional package."""
    original = importlib.util.find_spec
    hidden = None if installed else "math_verify"

    def find_spec(name, package=None):
        return None if name == hidden else original(name, package)

    forget = getattr(symbolic.same_mathematics, "cache_clear", lambda: None)
    forget()
    importlib.util.find_spec = find_spec
    try:
        yield
    finally:
        importlib.util.find_spec = original
        forget()


FAULTS = ["missed", "accepted", "extract differs", "votes split", "votes merged", "raised", "slow"]
SLOW = 0.05  # seconds


def faults_of(case: Case, installed: bool) -> tuple[list[str], float]:
    """What the grader does wrong on this case, and the seconds that it took to grade the text."""
    found = []
    clock = time.perf_counter if installed else time.process_time  # math-verify has a process
    start = clock()
    given = is_correct(case.text, case.gold)
    seconds = clock() - start
    found += ["slow"] * (seconds > SLOW and not installed)
    right = case.right if case.right is not None else (True if installed else given)
    if given != right:
        found.append("missed" if right else "accepted")
    answer = extract_answer(case.text)
    if case.number and is_correct(answer, case.gold) != given:
        found.append("extract differs")
    if case.twin is not None:
        texts = [case.twin] + ([case.rival] if case.rival is not None else [])
        ids = answer_ids([[answer, *map(extract_answer, texts)]])[0]
        found += ["votes split"] * bool(ids[0] != ids[1] or ids[0] < 0)
        found += ["votes merged"] * bool(len(ids) > 2 and ids[0] == ids[2])
    return found, seconds


def measure(cases: int, seed: int, installed: bool) -> Report:
    """Grades `cases` generated texts with or without math-verify."""
    rng = random.Random(seed)
    report = Report(dict.fromkeys(KINDS, 0), [], {kind: [] for kind in KINDS})
    with math_verify(installed):
        for _ in range(cases):
            case = generate(rng)
            report.cases[case.kind] += 1
            try:
                found, seconds = faults_of(case, installed)
            except Exception as error:
                found, seconds = ["raised"], 0.0
                case = case._replace(text=f"{error!r:.80} on {case.text}")
            report.faults.extend((case.kind, fault, case) for fault in found)
            report.seconds[case.kind].append(seconds)
    return report


def table(report: Report) -> str:
    """Rows: kinds; columns: cases, faults of each sort, milliseconds of `is_correct` a text."""
    head = "".join(f"{fault:>16}" for fault in FAULTS)
    lines = [f"{'kind':26}{'cases':>6}{head}{'ms':>7}{'p99':>7}"]
    for kind in [*KINDS, None]:
        cases = sum(report.cases.values()) if kind is None else report.cases[kind]
        rows = [row for of, row in report.seconds.items() if kind in (None, of)]
        times = np.concatenate([[0.0], *rows])
        counts = "".join(f"{report.count(fault, kind) or '':>16}" for fault in FAULTS)
        timing = f"{1e3 * np.mean(times):7.2f}{1e3 * np.quantile(times, 0.99):7.2f}"
        lines.append(f"{kind or 'all':26}{cases:6}{counts}{timing}")
    return "\n".join(lines)


def examples(report: Report, most: int) -> str:
    lines, seen = [], {}
    for kind, fault, case in report.faults:
        seen[kind, fault] = seen.get((kind, fault), 0) + 1
        if seen[kind, fault] > most:
            continue
        lines.append(f"{kind}: {fault}, gold {case.gold!r}\n    text {case.text[-300:]!r}")
        if fault == "votes split":
            lines.append(f"    twin {case.twin[-300:]!r}")
        if fault == "votes merged":
            lines.append(f"    rival {case.rival[-300:]!r}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000, help="with math-verify, a fifth")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=3, help="of each fault of a kind")
    options = parser.parse_args()
    present = importlib.util.find_spec("math_verify") is not None
    for installed in (False, True)[: 1 + present]:
        start = time.perf_counter()
        report = measure(options.cases // (5 if installed else 1), options.seed, installed)
        word = "with" if installed else "without"
        print(f"\n{word} math-verify, {time.perf_counter() - start:.1f} s\n{table(report)}\n")
        print(examples(report, options.examples), flush=True)


if __name__ == "__main__":
    main()
