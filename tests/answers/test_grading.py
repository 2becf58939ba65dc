"""Whole kinds of answers that were once read wrongly: what must be accepted, and what must be
refused.
"""

import importlib.util

import pytest
from conftest import for_each

from jaxreason.answers.exact import evaluate
from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import answer_ids, is_correct

has_math_verify = importlib.util.find_spec("math_verify") is not None

MATRIX = r"\begin{pmatrix} 0 & 1 \\ -1 & 0 \end{pmatrix}"

# Kind -> gold -> (texts that are right, texts that are wrong).
KINDS = {
    "matrices": {
        MATRIX: (
            [
                rf"$\boxed{{{MATRIX}}}$",
                MATRIX,
                rf"The answer is ${MATRIX}$.",
                r"\boxed{\begin{bmatrix}0&1\\-1&0\end{bmatrix}}",
                r"\boxed{\left(\begin{array}{cc} 0 & 1 \\ -1 & 0 \end{array}\right)}",
                r"\boxed{\begin{pmatrix} 0 & \frac{2}{2} \\ -1.0 & 0 \\ \end{pmatrix}}",
            ],
            [
                "The answer is 0",
                r"\boxed{0}",
                r"\boxed{\begin{pmatrix} 0 & -1 \\ 1 & 0 \end{pmatrix}}",
                r"\boxed{\begin{pmatrix} 0 & 1 & -1 & 0 \end{pmatrix}}",
                r"\boxed{\begin{pmatrix} 0 \\ 1 \\ -1 \\ 0 \end{pmatrix}}",
                r"\boxed{\begin{vmatrix} 0 & 1 \\ -1 & 0 \end{vmatrix}}",
                r"\boxed{(0, 1, -1, 0)}",
            ],
        ),
        r"\begin{pmatrix} 7 \\ 1/2 \end{pmatrix}": (
            [r"\boxed{\begin{pmatrix} 7 \\ \frac12 \end{pmatrix}}"],
            ["2", "7", r"\boxed{\begin{pmatrix} \frac12 \\ 7 \end{pmatrix}}"],
        ),
    },
    "units of golds": {
        r"12 \text{ cm}^2": (
            [
                "12",
                r"\boxed{12}",
                r"\boxed{12\text{ cm}^{2}}",
                "The answer is 12 cm^2.",
                "#### 12 square cm",
                "12.0",
            ],
            [
                "2",
                r"\boxed{2}",
                "The answer is 122.",
                "144",
                "cm^2",
                "The answer is 10 cm^2, not 12.",
            ],
        ),
        r"864 \mbox{ inches}^2": (
            ["864", r"\boxed{864 \text{ in}^2}", "864 inches"],
            ["2", "8642", "746496"],
        ),
        r"30 \text{ m/s}": (["30", r"\boxed{30\ \mathrm{m/s}}"], ["3", r"\boxed{30/s}"]),
    },
    "golds that are no number": {
        r"\text{June 20}": (
            [
                "The answer is June 20.",
                r"\boxed{\text{June 20}}",
                "June 20",
                r"\boxed{June 20}",
                "**Answer:** June 20",
                "#### June 20",
            ],
            [
                "20",
                r"\boxed{20}",
                "The answer is June 2.",
                "The answer is July 20.",
                "June 21",
                "June",
            ],
        ),
        r"5 \text{ and } 7": (
            [
                r"\boxed{5 \text{ and } 7}",
                "The answer is 5 and 7.",
                r"\boxed{5, 7}",
                "5 and 7",
                "#### 7 and 5",
            ],
            [
                "7",
                "5",
                r"\boxed{57}",
                r"\boxed{5,8}",
                r"\boxed{(5,7)}",
                "The answer is 5, 6 and 7.",
                "12",
            ],
        ),
        "1331 and 1728": (
            [r"\boxed{1331 \text{ and } 1728}", "The answer is 1,331 and 1,728.", "1331, 1728"],
            ["1728", "1331", "The answer is 1331.", "3059"],
        ),
        r"\text{Room 20}": ([r"\boxed{Room 20}", r"\boxed{room\ 20}"], ["20", "Room 21"]),
    },
    "equations": {
        "3x-y+13=0": (
            [
                r"\boxed{3x-y+13=0}",
                r"\boxed{3x - y + 13 = 0}",
                "The answer is $3x-y+13=0$.",
                "3x-y+13=0",
            ],
            [r"\boxed{3x+4y+14=0}", r"\boxed{0}", "0", "The answer is 3x+4y+14=0.", r"\boxed{13}"],
        ),
        "x + 2y - 3z - 4 = 0": (
            [r"\boxed{x+2y-3z-4=0}"],
            [r"\boxed{0}", r"\boxed{4}", "The answer is 0."],
        ),
        "x^2+y^2=25": (
            [r"\boxed{x^{2}+y^{2}=25}"],
            [r"\boxed{25}", r"\boxed{x^2=25}", "The answer is 25."],
        ),
        "12": (
            [
                r"\boxed{x = 12}",
                r"\boxed{f(2) = 12}",
                r"\boxed{x_1 = 12}",
                r"\boxed{AB = 12}",
                r"\boxed{\angle ABC = 12^\circ}",
                r"\boxed{\text{Area} = 12}",
                "The total cost = 12",
                "The answer is x = 12.",
                r"\boxed{5 + 7 = 12}",
                "The answer is 45 - 33 = 12.",
                r"\boxed{\sqrt{144} = 12}",
                r"\boxed{12 = 5 + 7}",
            ],
            [
                r"\boxed{xy = 12}",
                r"\boxed{x + y = 12}",
                r"\boxed{x^2 = 12}",
                r"\boxed{2x = 12}",
                r"\boxed{x > 12}",
            ],
        ),
        "y = 2x + 1": ([r"\boxed{y = 2x+1}", r"\boxed{2x+1}"], [r"\boxed{y = 2x - 1}", "1"]),
    },
    "other scripts": {
        "73": (
            [
                "因此，最终答案为73元。",
                "Итого 73 яблока.",
                "따라서 정답은 73개입니다.",
                "إذن الجواب النهائي هو 73 تفاحة.",
                "したがって、答えは73個です。",
                "Άρα η απάντηση είναι 73.",
                "于是 80 - 7 = 73，共73个苹果",
                r"最终答案是 \boxed{73元}",
                r"Ответ: \boxed{73 яблока}",
            ],
            [
                "因此，最终答案为-73元。",
                "Итого 37 яблок, а не 73.5",
                "答案为7.3元。",
                "정답은 730개입니다.",
                "73 - это шаг 1, итого 74",
            ],
        ),
    },
    "hedges": {
        "10": (
            [
                "The answer is 10.",
                "The answer is 10, not 12.",
                "It is 10 or 12. I checked both: the answer is 10.",
                "The answer is 10, since 4 + 6 = 10.",
                "The answer is 10 and she is happy.",
                "The answer is 10, which is 2 less than 12.",
                "The answer is 10 because 12 or more would be too many.",
                r"\boxed{12}. Wait, I forgot one: \boxed{10}",
                "The answer is 10, or 20/2.",
                "So it is 10. The answer is not 12.",
                "Either way, the answer is 10.",
            ],
            [
                "The answer is 10 or 12.",
                "The answer is either 10 or 12.",
                "The answer is 12 or 10.",
                "The answer is 10, 11, 12",
                "The answer is 10, 11 or 12.",
                "The answer is 12, maybe 10.",
                "The answer is 10. Or maybe 12.",
                "The answer is 10.\nOr 12.",
                "The answer is 10 (or 12).",
                "The answer is between 8 and 10.",
                "The answer is 10 and 12.",
                "The answer is $10$ or $12$.",
                r"\boxed{12} or \boxed{10}",
                r"\boxed{10} or \boxed{12}",
                r"\boxed{10 \text{ or } 12}",
                r"\boxed{10}, or perhaps 12",
                "12 or the answer is 10",
                "#### 10 or 12",
                "#### 10, 12",
                "It is 12 or 10.",
                "10 or 12",
                "The answer is not 10.",
                "The answer isn't 10.",
                "The answer is certainly not 10.",
                "The answer is anything but 10.",
                "It cannot be 10.",
            ],
        ),
        "12": (
            [],
            [
                "The answer is 10 or 12.",
                "The answer is 10, 11, 12",
                "The answer is not 12.",
                "It is 10 or 12.",
            ],
        ),
        "10 or 12": (
            ["The answer is 10 or 12.", r"\boxed{12, 10}"],
            ["10", "The answer is 12.", "10 or 13"],
        ),
        "B": (
            ["The answer is B.", "The answer is (B)."],
            ["The answer is A or B.", "(A) or (B)", r"\boxed{A, B}"],
        ),
    },
    "powers": {
        r"\frac{1}{2^{98}}": (
            [
                r"\boxed{\frac{1}{2^{98}}}",
                r"\boxed{\frac{2}{2^{99}}}",
                r"\boxed{2^{-98}}",
                r"\boxed{(1/2)^{98}}",
            ],
            [
                r"\boxed{\frac{1}{2^{99}}}",
                r"\boxed{0}",
                r"\boxed{\frac{1}{2^{97}}}",
                r"\boxed{2^{98}}",
                r"\boxed{-2^{-98}}",
            ],
        ),
        "2^{10}": (
            [r"\boxed{1024}", r"\boxed{2^{10}}", r"\boxed{4^5}"],
            [r"\boxed{210}", r"\boxed{20}", r"\boxed{2^{11}}"],
        ),
    },
    "dress": {
        "73": (
            [
                r"\boxed{\textcolor{red}{73}}",
                r"\boxed{\color{blue} 73}",
                r"\boxed{\underline{73}}",
                r"\boxed{\bf 73}",
                r"\boxed{{\bf 73}}",
                r"\boxed{\large{73}}",
                r"\boxed{\displaystyle 73}",
                r"\boxed{\hspace{1em}73}",
                r"\boxed{\textbf{\underline{73}}}",
                r"\boxed{\mathbf{73}}",
                r"\framebox{73}",
                r"\boxed{\emph{73}}",
                "A: 73",
                "=> 73",
                "→ 73",
                "73!",
                "73 ✓",
                "The answer is 73 ✅",
                "####73",
                "**73**",
            ],
            [
                r"\boxed{\textcolor{red}{7}3}4",
                r"\boxed{\textcolor{73}{7}}",
                r"\boxed{\hspace{73em}7}",
                r"\boxed{73!}",
                "A: 7",
                "=> -73",
                "####7 3",
                r"\boxed{\overline{73}}",
            ],
        ),
    },
    "numbers in groups": {
        "2": (
            [],
            [
                "The answer is 2 hours and 30 minutes.",
                "2 hours 30 minutes",
                r"\boxed{2 \text{ h and } 30 \text{ min}}",
            ],
        ),
        "30": ([], ["The answer is 2 hours and 30 minutes.", "2 hours and 30 minutes"]),
        "2 hours and 30 minutes": (
            [
                "The answer is 2 hours and 30 minutes.",
                "2 hours 30 minutes",
                r"\boxed{2 \text{ hours and } 30 \text{ minutes}}",
            ],
            ["2", "30", "The answer is 2 hours.", "The answer is 30 hours and 2 minutes.", "2.5"],
        ),
        "5 feet 3 inches": (
            ["The answer is 5 feet 3 inches.", "5 feet and 3 inches"],
            ["5", "3", "3 feet 5 inches"],
        ),
        "1": ([], ["The answer is 1 000 000.", "1 000 000"]),
        "0": ([], ["There are 1 000 000.", "1 000 000"]),
        "1 000 000": (
            ["The answer is 1 000 000.", "1,000,000", r"\boxed{1\,000\,000}", "1000000"],
            ["1", "1000", "0"],
        ),
        "12345": (
            [r"\boxed{12\ 345}", r"\boxed{12\,345}", "The answer is 12 345.", "12,345"],
            [r"\boxed{12\ 34}", "345"],
        ),
        "12": ([], ["The answer is 12,34,567.", r"\boxed{12,34,567}", "12 345"]),
        "567": ([], ["The answer is 12,34,567.", "12,34,567", "There are 12,34,567 people."]),
        "12,34,567": (["The answer is 12,34,567."], ["1234567", "12", "12,34"]),
        "3": (
            [],
            [
                "The answer is 3 and 1/2.",
                "The answer is 3 and a half.",
                r"\boxed{3 \text{ and } 1/2}",
            ],
        ),
        "1/2": ([], ["The answer is 3 and 1/2.", "3 and 1/2"]),
        "3 and 1/2": (["The answer is 3 and 1/2.", "3 and 1/2"], ["3", "1/2", "3 and 1/3"]),
        "1/3": (
            [r"\boxed{0.\overline{3}}", r"The answer is $0.\overline{3}$.", r"\boxed{\frac13}"],
            [
                "0.333",
                "0.3",
                r"\boxed{0.\overline{34}}",
                r"\boxed{0.0\overline{3}}",
                r"\boxed{3.\overline{3}}",
            ],
        ),
        "1/6": ([r"\boxed{0.1\overline{6}}"], [r"\boxed{0.\overline{16}}", r"\boxed{0.16}"]),
    },
    "multiple choice": {
        "E": (
            [
                "The correct option is E",
                "The correct option is E.",
                "the right choice is (E), because 12 > 3.",
                "The answer is Option (E)",
                "The answer is option E.",
                r"\boxed{E: \text{none of these}}",
                r"\boxed{E: text}",
                r"\boxed{\textbf{(E) } 12}",
                r"\boxed{\text{(E)}\ 12}",
                r"\boxed{\text{E}}",
                "Answer: E) 12",
                "#### (E)",
            ],
            [
                "The correct option is D",
                r"\boxed{\textbf{(D) } 12}",
                r"\boxed{D: see E}",
                "The answer is Option (A)",
                "The correct option is E or D.",
                "The correct option is not E",
                "Option E says 12. The answer is B.",
            ],
        ),
        "12": ([], [r"\boxed{\textbf{(E) } 12}", r"\boxed{E: 12}"]),
        r"\text{(E)}": (["E", r"\boxed{(E)}"], ["D", "12"]),
    },
    "sums in sentences": {
        "24": (
            [
                "Answer: (5 * 4) + (10 - 6) = 24",
                "The answer is (10 - 4) * (13 - 9) = 24",
                "The answer is 18 + (3 * 2) = 24.",
                "The answer is 12 plus 12 equals 24.",
                "The answer is 6 times 4.",
                "The answer is 6 x 4 = 24",
                "The answer is 24 (6 rows of 4).",
            ],
            [
                "The answer is 24 plus 2.",
                "The answer is 24 pi",
                "The answer is 24 (x + 1).",
                "The answer is 24 : 5.",
            ],
        ),
    },
    "what is no unit": {
        "18xyz": ([r"\boxed{18xyz}"], ["18", r"\boxed{18xy}", r"\boxed{18}"]),
        "18": (
            [
                "18km",
                "18 hours",
                r"\boxed{18 \text{ sq ft}}",
                r"\boxed{18^\circ\text{C}}",
                r"\boxed{18^{\text{th}}}",
            ],
            [
                "答案是18万元。",
                "18億円",
                r"\boxed{18 \text{ million}}",
                "18 lakh",
                r"\boxed{18xyz}",
                "The answer is 18 dozen",
            ],
        ),
        "180000": (
            ["答案是18万元。", "18만 원", "18e4", "180 thousand", "180 mil"],
            ["18", "1800000"],
        ),
        r"24\pi": (
            [r"\boxed{24\pi \text{ cm}^2}", r"\boxed{24\pi}"],
            ["24", r"\boxed{24}", r"\boxed{\pi}"],
        ),
    },
    "exact and rounded": {
        "1/3": (
            [r"\boxed{\frac13 \approx 0.333}", "The answer is 1/3 ≈ 0.333."],
            [r"\boxed{0.333}", r"\boxed{\frac14 \approx 0.25}"],
        ),
        "5": (
            [r"\boxed{x \approx 5}", r"\boxed{\approx 5}", r"\boxed{\text{approximately } 5}"],
            [r"\boxed{4.99 \approx 5}"],
        ),
        r"[-2,7]": ([r"\boxed{x \in [-2,7]}", r"\boxed{[-2, 7]}"], [r"\boxed{x \in (-2,7)}", "7"]),
    },
    "digits, signs and blanks": {
        "73": (["উত্তর: ৭৩", "الجواب ٧٣", "७३", "คำตอบคือ ๗๓", "７３"], ["৭", "٣٧", "‑73"]),
        "-5": (
            ["The answer is ‑5.", "The answer is minus 5.", "The answer is −5."],
            ["The answer is 5.", "8 minus 5 is 3"],
        ),
        "25/8": (["3⅛ cups", "3 1/8"], ["3", "The answer is 3.", "1/8"]),
    },
    "letters in doubt": {
        "B": (
            [
                "Therefore, option B is correct.",
                "The answer is therefore (B).",
                "La respuesta es B.",
                "答案：B",
                "(B) 60 km/h",
            ],
            [
                "The answer is B, or C.",
                "The answer is B (or C).",
                "The answer is B, maybe C.",
                "The correct option is B or C.",
            ],
        ),
        "even": (["The answer is even."], ["The answer is even or odd.", "The answer is odd."]),
        "12": (
            [r"\boxed{12}" + "\n\n" + r"\boxed{12}", "The answer is 12. It is not 10."],
            [
                r"\boxed{10}, \boxed{11}, \boxed{12}",
                r"\(\boxed{10}\) or \(\boxed{12}\)",
                "The answer is 12 or ten.",
                "I don't think the answer is 12.",
                "<think>The answer is 12</think>The answer is not 12.",
                "La respuesta no es 12",
                "答えは12ではありません。",
                "答案是10或12。",
            ],
        ),
        "10,11,12": ([r"\boxed{10}, \boxed{11}, \boxed{12}"], [r"\boxed{10}, \boxed{12}"]),
    },
    "products, bases, times, pairs": {
        "5": ([], [r"\boxed{2(3)}", r"\boxed{10-12}", "2 + 4"]),
        "6": (
            [r"\boxed{2(3)}", r"\boxed{(2)(3)}", r"\boxed{2 \cdot 3}"],
            [r"\boxed{23}", r"\boxed{2,3}"],
        ),
        "10(11)": ([r"\boxed{110}", r"\boxed{10(11)}"], [r"\boxed{21}", r"\boxed{1011}"]),
        "52_8": (
            [r"\boxed{52_8}", r"\boxed{52_{8}}"],
            [r"\boxed{52}", r"\boxed{42}", r"\boxed{52_9}"],
        ),
        "1010_3": ([r"\boxed{1010_3}"], [r"\boxed{1010_2}", r"\boxed{30}", r"\boxed{1010}"]),
        "3:30": (
            [r"\boxed{3:30}"],
            [r"\boxed{7:70}", r"\boxed{3}", r"\boxed{330}", r"\boxed{1:10}"],
        ),
        "3,7": (
            [r"\boxed{3,7}", r"\boxed{7, 3}"],
            [r"\boxed{(3,7)}", r"\boxed{[3,7]}", r"\boxed{37}", r"\boxed{3}"],
        ),
        r"\{1,2\}": (
            [r"\boxed{\{2,1\}}"],
            [r"\boxed{(1,2)}", r"\boxed{\{1,3\}}", r"\boxed{[1,2]}", r"\boxed{1}"],
        ),
        "(1,2)": (
            [r"\boxed{(1, 2)}"],
            [r"\boxed{(2,1)}", r"\boxed{[1,2]}", r"\boxed{(1,2]}", r"\boxed{1,2}"],
        ),
        "(-\\infty, 5]": (
            [r"\boxed{(-\infty,5]}"],
            [r"\boxed{(-\infty,5)}", r"\boxed{[5,\infty)}"],
        ),
        "4.5": (
            [r"\boxed{3\frac12 + 1}", r"\boxed{4\frac{1}{2}}", r"\boxed{9/2}"],
            [r"\boxed{3\frac12}", r"\boxed{7/2+2}"],
        ),
        r"\sqrt{6}": (
            [r"\boxed{\sqrt{2(3)}}", r"\boxed{\sqrt6}"],
            [r"\boxed{\sqrt{23}}", r"\boxed{\sqrt{5}}", r"\boxed{6}"],
        ),
        "4": (
            [r"\boxed{\sqrt{16}}", r"\boxed{2\sqrt{4}}"],
            [r"\boxed{\sqrt{4}}", r"\boxed{\sqrt{-16}}"],
        ),
    },
}
GRADES = [
    (text, gold, right)
    for golds in KINDS.values()
    for gold, texts in golds.items()
    for right, group in zip((True, False), texts, strict=True)
    for text in group
]


@for_each(GRADES)
def test_a_text_is_graded_as_a_person_would(text, gold, right):
    assert is_correct(text, gold) is right


@for_each(GRADES)
def test_extraction_and_grading_never_disagree(text, gold, right):
    answer = extract_answer(text)
    assert is_correct(answer, gold) is right
    if answer is not None:
        assert (answer_ids([[answer, gold]])[0].tolist() == [0, 0]) is right


def test_without_math_verify_the_grades_are_the_same(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [case for case in GRADES if is_correct(*case[:2]) is not case[2]] == []


def test_a_text_of_a_word_or_a_name_is_that_answer():
    for text, gold in [
        ("Paris", "paris"),
        ("**Yes**", "yes"),
        ("New York.", "New York"),
        ("no solution", "No solution"),
    ]:
        assert is_correct(text, gold) and is_correct(extract_answer(text), gold)
    assert not is_correct("Rome", "paris") and not is_correct("New York", "York")
    assert extract_answer("<think>The answer is 33.</think>Done.") == "33"


@pytest.mark.skipif(not has_math_verify, reason="math-verify is optional")
@pytest.mark.parametrize(
    "text, gold, right",
    [
        (r"\boxed{2x+2y=2}", "x+y=1", True),
        (r"\boxed{y - x = 1}", "x - y + 1 = 0", True),
        (r"\boxed{x+y=2}", "x+y=1", False),
        (r"\boxed{\{1+\sqrt{2}, 1-\sqrt{2}\}}", r"\{-\sqrt2+1, \sqrt2+1\}", True),
        (r"\boxed{(\sqrt{8}, 1)}", r"(2\sqrt{2}, 1)", True),
        (r"\boxed{(\sqrt{8}, 1)}", r"(1, 2\sqrt{2})", False),
        (r"\boxed{\frac{\pi}{2^{99}}}", r"\frac{\pi}{2^{98}}", False),
        (r"\boxed{\frac{\pi}{2^{99}}}", r"\frac{2\pi}{2^{100}}", True),
        (r"\boxed{x > 1}", "x > 2", False),
    ],
)
def test_with_math_verify_mathematics_is_compared_exactly(text, gold, right):
    assert is_correct(text, gold) is right


@pytest.mark.parametrize(
    "text, expected",
    [
        ("5+3", 8),
        ("-2^2", -4),
        ("(1/2)^{3}", "1/8"),
        ("3 1/2-1", "5/2"),
        ("2(3)(4)", 24),
        ("0.1+0.2", "3/10"),
        ("1/2/3", None),
        ("1/2(3)", None),
        ("007+1", None),
        ("2024-01-05", None),
        ("1.2.3", None),
        ("1/0", None),
        ("9^{9^{9}}", None),
        ("2^{0.5}", None),
        ("1 2", None),
        ("x+1", None),
        ("(" * 400 + "1" + ")" * 400, None),
        ("", None),
    ],
)
def test_sums_are_worked_out_exactly_or_not_at_all(text, expected):
    value = evaluate(text)
    assert value is None if expected is None else str(value) == str(expected)
