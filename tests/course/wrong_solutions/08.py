"""Wrong solutions of lesson 08: kind, exercise, what our solution says, what the wrong one says."""

WRONG = [
    ("wrong axis", "group_advantages", "rewards.mean(1, keepdims=True)", "rewards.mean()"),
    ("wrong axis", "group_advantages", "rewards.std(1, keepdims=True)", "rewards.std()"),
    ("0 / 0", "group_advantages", " + 1e-8", ""),
    ("no std", "group_advantages", " / (std + 1e-8)", ""),
    ("wrong sign", "clipped_loss", "return -per_chain", "return per_chain"),
    ("wrong clip", "clipped_loss", "np.minimum(ratio", "np.maximum(ratio"),
    ("missing mask", "clipped_loss", "np.where(mask, gain - beta * kl, 0.0)", "gain - beta * kl"),
    ("wrong axis", "clipped_loss", "mask.sum(1)\n", "mask.shape[1]\n"),
    ("mean of tokens", "clipped_loss", "-per_chain.mean()", "-per_token.sum() / mask.sum()"),
    ("wrong direction", "clipped_loss", "reference - logprobs", "logprobs - reference"),
    ("off by one", "leave_one_out", "(rewards.shape[1] - 1)", "rewards.shape[1]"),
    ("off by one", "leave_one_out", " - rewards\n", "\n"),
    ("both ways", "clipped_tokens", "{1, 4}", "{1, 2, 3, 4}"),
    ("missing mask", "vote_reward", " if answer is not None)", ")"),
    ("the rarest", "vote_reward", "votes.most_common(1)[0]  #", "votes.most_common()[-1]  #"),
    ("0 is an answer", "vote_reward", "if answer is not None", "if answer"),
    ("a share", "vote_reward", "float(answer == label)", "votes[answer] / len(answers)"),
]
