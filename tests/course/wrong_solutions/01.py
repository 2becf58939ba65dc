"""Wrong solutions of lesson 01: kind, exercise, what our solution says, what the wrong one says."""

WRONG = [
    ("first, not last", "last_answer", "stated[-1]", "stated[0]"),
    ("lost sign", "last_answer", "(-?", "-?("),
    ("lost commas", "last_answer", r"\d[\d,]*)", r"\d+)"),
    ("part of a word", "last_answer", r"\bis\b", "is"),
    (
        "wrong axis",
        "tempered_softmax",
        ".max(1, keepdims=True)) / t",
        ".max(0, keepdims=True)) / t",
    ),
    ("wrong axis", "tempered_softmax", "sum(1, keepdims=True)\n\n\ndef top", "sum()\n\n\ndef top"),
    ("no largest", "tempered_softmax", "(logits - logits.max(1, keepdims=True)) / t", "logits / t"),
    ("multiplied", "tempered_softmax", "/ temperature", "* temperature"),
    ("off by one", "top_p", " - probabilities[order]", ""),
    ("not scaled", "top_p", "result / result.sum()", "result"),
    ("off by one", "completion_logprob", "logprobs[:, :-1]", "logprobs[:, 1:]"),
    ("missing mask", "completion_logprob", "np.where(mask[:, 1:], chosen, 0.0)", "chosen"),
    ("off by one", "completion_logprob", "mask[:, 1:]", "mask[:, :-1]"),
    ("no softmax", "completion_logprob", "logprobs[:, :-1]", "logits[:, :-1]"),
]
