"""Solutions of lesson 09."""

import numpy as np


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def completion_loss(logits, tokens, prompt_length):
    before = log_softmax(logits)[prompt_length - 1 : -1]  # row t is about token t + 1
    learned = tokens[prompt_length:]
    return -before[np.arange(len(learned)), learned].mean()


def kd_loss(student, teacher, targets, weights, temperature, alpha):
    s, t = log_softmax(student / temperature), log_softmax(teacher / temperature)
    kl = (np.exp(t) * (t - s)).sum(-1)
    nll = -log_softmax(student)[np.arange(len(targets)), targets]
    per_token = alpha * temperature**2 * kl + (1 - alpha) * nll
    return (weights * per_token).sum() / weights.sum()


def keep_traces(texts, answers, golds, most):
    kept = []
    for row, said, gold in zip(texts, answers, golds, strict=True):
        right = []
        for text, answer in zip(row, said, strict=True):
            if answer == gold and text not in right and len(right) < most:
                right.append(text)
        kept.append(right)
    return kept


# Forward KL asks the student to cover both likely tokens. Reverse KL lets it settle on one, and
# punishes A for the third, which the teacher would hardly say.
PREFERRED = ("A", "B")

# Long and good against short and bad: a sum grows with the length.
BATCHES = ([[1.0] * 10], [[2.0]])
