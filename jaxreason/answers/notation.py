r"""The many ways to write a number or an expression, rewritten in plain ASCII.

Such are LaTeX, markdown, currency and words for powers of ten. It is the first step of reading an
answer; `canonical` and `extract` read the result.
"""

import re

# Possessive quantifiers (`++`, Python 3.11) keep the patterns free of backtracking.
# 1,234 or 1 234 or 1234; a number before or behind the blanks makes a row of numbers of them.
_INT = (
    r"(?:\d{1,3}(?:,\d{3})++(?!\d)"
    r"|(?<![\d.,])(?<!\d\s)[1-9]\d{0,2}(?:\ \d{3})++(?![\d/,]|\.\d|\s?[-+*/=:]\s?\d|\s\d)"
    r"|\d++)"
)
# .5  1,234.50  1.5e3
DECIMAL = rf"(?:{_INT}(?:\.\d++)?+|(?<![\w.])\.\d++)(?:[eE][+-]?\d++(?!\w))?+"

# Digits of other scripts: full width, Arabic, Persian, Devanagari, Bengali, Thai, Telugu.
_CHARACTERS = {chr(ord(zero) + digit): str(digit) for zero in "０٠۰०০๐౦" for digit in range(10)} | {
    "−": "-",
    "‐": "-",
    "‑": "-",
    "–": "-",
    "﹣": "-",
    "－": "-",
    "×": "*",
    "·": "*",
    "÷": "/",
    "≈": "\\approx ",
    "≤": "\\le ",
    "≥": "\\ge ",
    "≠": "\\ne ",
    "π": "\\pi ",
    "√": "\\sqrt ",
    "∞": "\\infty ",
    "⇒": " ",
    "→": " ",
    "∴": " ",
    "％": "%",
    "，": ",",
    "．": ".",
    "。": ". ",
    "：": ":",
    "！": "!",
    "½": " 1/2",
    "¼": " 1/4",
    "¾": " 3/4",
    "⅓": " 1/3",
    "⅔": " 2/3",
    "⅛": " 1/8",
    "⅜": " 3/8",
    "⅝": " 5/8",
    "⅞": " 7/8",
    "⁄": "/",
    "°C": "",
    "°F": "",
    "°": "",
    "\u200b": "",
    "\ufeff": "",
    "\u00a0": "\\,",
    "\u2009": "\\,",
    "\u202f": "\\,",
}
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴-⁹⁻]+")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")

# LaTeX that changes how an answer looks and not what it says.
_SWITCHES = (
    "left|right|[bB]igg?[lr]?|displaystyle|textstyle|bf|it|rm|sf|tt|em|sc|bfseries|itshape|"
    "tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge|boxed|fbox|framebox"
)
_WRAPPERS = (
    r"text(?:bf|it|rm|sf|tt|sc|normal|up)?|math(?:rm|bf|it|sf|tt|bb|cal)|[mh]box|emph|underline|"
    r"uline|bm|boldsymbol|operatorname\*?|ensuremath|cancel"
)
_MULTIPLES = {
    r"hundred\b": "e2",
    r"(?:thousand|mil|mille|tausend|тысяч[аи]?)\b|千": "e3",
    r"万|萬|만": "e4",
    r"lakhs?\b": "e5",
    r"(?:million|millones|milhões|Millionen|миллион[а-я]*)\b": "e6",
    r"crores?\b": "e7",
    r"亿|億|억": "e8",
    r"billion\b": "e9",
    r"trillion\b": "e12",
}
_REWRITES = [
    (re.compile(pattern), new)
    for pattern, new in [
        (r"<<[^<>]*>>", ""),  # GSM8K's calculator marks
        (r"</?\|?[A-Za-z_]\w*\|?>", " "),  # <|im_end|>, </s>, <answer>
        (r"\\(?:text)?color(?:box)?\s?\{[^{}]*\}|\\[hv]space\*?\s?\{[^{}]*\}", " "),
        (rf"\\(?:{_SWITCHES})(?![A-Za-z])|\\!", ""),
        (r"\{,\}", ","),
        (r"(?<=\d)(?:\\[, ]|[’'])(?=\d{3}(?!\d))", ""),  # a thin space between thousands
        (r"\\[,;:> ]|\\(?:q?quad|enspace|thinspace)(?![A-Za-z])|~|\\[()\[\]]|\*\*|`", " "),
        (r"\\(?=[$%#&])", ""),
        (rf"\\(?:{_WRAPPERS})\s?\{{([^{{}}]*)\}}", r" \1 "),
        (rf"\\(?:{_WRAPPERS})\s?\{{([^{{}}]*)\}}", r" \1 "),  # one inside another
        (r"\^\s?(?:\{\s?\\circ\s?\}|\\circ)(?:\s?[CF]\b)?|\\degrees?(?![A-Za-z])", ""),
        (r"\^\s?\{\s*(?:st|nd|rd|th)\s*\}", ""),
        (r"\\(?:times|cdot)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\\(?:thickapprox|simeq)(?![A-Za-z])", r"\\approx"),
        (r"\\(le|ge|ne)q(?:slant)?(?![A-Za-z])", r"\\\1"),
        (r"R?[$€£¥₹₩₱¢₽₫฿₪]", ""),
        (r"(?<=\d)\s?[xX*]\s?10\s?\^\s?\{?\s?([+-]?\d+)(?:\s?\})?", r"e\1"),
        (r"(?<=\d)\s?[xX]\s?(?=\d)", "*"),
        *(
            (rf"(?i)(?<=[\d)])\s+{word}\s+(?=[\d(])", sign)
            for word, sign in {
                "plus": " + ",
                "minus": " - ",
                "times": " * ",
                "(?:multiplied|times) by": " * ",
                "divided by": " / ",
                "(?:equals|is equal to)": " = ",
            }.items()
        ),
        (r"(?i)\b(?:negative|minus) (?=\d)", "-"),
        *((rf"(?i)(?<=\d)\s{{0,3}}(?:{word})", power) for word, power in _MULTIPLES.items()),
        (r"(?<=\d)\s{2,}(?=\d+/\d)", " "),  # 3 ½
    ]
]
_GROUP = r"\{(?:[^{}]|\{[^{}]*+\})*+\}"  # braces, with at most one pair inside
_FRACTION = re.compile(rf"\\(?:[dtc]|nice)?frac\s?({_GROUP}|\d)\s?({_GROUP}|\d)")


def to_ascii(text: str) -> str:
    """Look-alikes of ASCII characters as those; most of them one for one."""
    text = text.replace("\0", "")
    if text.isascii():
        return text
    text = _SUPERSCRIPTS.sub(lambda power: "^" + power[0].translate(_RAISED), text)
    for old, new in _CHARACTERS.items():  # on long texts faster than str.translate
        if text.isascii():  # known without a look at the text
            break
        text = text.replace(old, new)
    return text


def _plain_fraction(match: re.Match) -> str:
    r"""``1/2`` of ``\frac{1}{2}``, with the brackets that its surroundings need."""
    top, bottom = (part[1:-1].strip() if part[0] == "{" else part for part in match.groups())
    simple = all(re.fullmatch(rf"-?{DECIMAL}", part) for part in (top, bottom))
    fraction = f"{top}/{bottom}" if simple else f"({top})/({bottom})"
    if re.match(r"\\[a-z]|[A-Za-z(](?![A-Za-z])|\^", match.string[match.end() :]):
        return f"({fraction})"  # \frac{1}{2}x
    mixed = match.string[: match.start()][-1:].isdigit()  # 1\frac{1}{2} is one and a half
    return " " + fraction if mixed else fraction


def plain(text: str) -> str:
    """A window of text without LaTeX, markdown, currency signs and special tokens."""
    for pattern, new in _REWRITES:
        text = pattern.sub(new, text)
    for _ in range(3 if "frac" in text else 0):  # fractions of fractions
        text = _FRACTION.sub(_plain_fraction, text)
    return text
