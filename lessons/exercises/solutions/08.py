"""Solutions of lessons 08, 08b and 08c."""

from collections import Counter

import numpy as np


def group_advantages(rewards):
    mean, std = rewards.mean(1, keepdims=True), rewards.std(1, keepdims=True)
    return (rewards - mean) / (std + 1e-8)  # of equal rewards 0, not 0 / 0


def clipped_loss(logprobs, old_logprobs, reference, advantages, mask, clip, beta):
    log_ratio = np.where(mask, logprobs - old_logprobs, 0.0)
    ratio, of_chain = np.exp(log_ratio), advantages[:, None]
    gain = np.minimum(ratio * of_chain, np.clip(ratio, 1 - clip, 1 + clip) * of_chain)
    to_reference = np.where(mask, reference - logprobs, 0.0)
    kl = np.exp(to_reference) - to_reference - 1  # never negative
    per_token = np.where(mask, gain - beta * kl, 0.0)
    per_chain = per_token.sum(1) / mask.sum(1)
    return -per_chain.mean()


def leave_one_out(rewards):
    others = rewards.sum(1, keepdims=True) - rewards
    return rewards - others / (rewards.shape[1] - 1)


# A good token that has become likelier already, and a bad one that has become less likely already.
# The other way round the gradient flows: such a token moved in the wrong direction.
CLIPPED_TOKENS = {1, 4}

# 7 stands in 17: the substring reward finds it.
CHEAT = "3*4=12\n12+5=17\n#### 17"


def vote_reward(answers):
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:  # nobody answers, nobody earns
        return np.zeros(len(answers))
    label, _ = votes.most_common(1)[0]  # the first of equals
    return np.array([float(answer == label) for answer in answers])
