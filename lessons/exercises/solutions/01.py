"""Solutions of lesson 01."""

import re

import numpy as np


def last_answer(text):
    stated = re.findall(r"(?:####|=|\bis\b|\bare\b)\s*\$?(-?\d[\d,]*)", text)
    return int(stated[-1].replace(",", "")) if stated else None


def tempered_softmax(logits, temperature):
    if temperature == 0:
        return np.eye(logits.shape[1])[logits.argmax(1)]
    scaled = (logits - logits.max(1, keepdims=True)) / temperature
    return np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)


def top_p(probabilities, p):
    order = np.argsort(-probabilities)
    before = np.cumsum(probabilities[order]) - probabilities[order]
    kept = order[before < p]  # those ahead of it do not reach p yet
    result = np.zeros_like(probabilities)
    result[kept] = probabilities[kept]
    return result / result.sum()


def completion_logprob(logits, tokens, mask):
    shifted = logits - logits.max(-1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    chosen = np.take_along_axis(logprobs[:, :-1], tokens[:, 1:, None], axis=2)[..., 0]
    return np.where(mask[:, 1:], chosen, 0.0).sum(1)


# Twelve lines are two times six lines, and both halves have to be right: 0.75 squared.
TWELVE_OPERATIONS = 0.56
