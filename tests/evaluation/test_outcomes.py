"""Outcomes: which chain is chosen, and what is paid for it, against sums by hand."""

import numpy as np
import pytest

from jaxreason import InputError
from jaxreason.evaluation.flops import reading_flops, rollout_flops
from jaxreason.evaluation.outcomes import Chains, Outcome, choose, share
from jaxreason.models.decoder import DecoderConfig

CFG = DecoderConfig(11, 8, 16, 2, 2, 1, 4, 64)
JUDGE = DecoderConfig(11, 16, 32, 2, 2, 1, 8, 64)
IDS = np.array([[0, 1, 1, 2], [0, 0, 1, -1]])
GOLD = np.array([1, 0])
TOKENS = np.array([[5, 6, 7, 8], [4, 4, 9, 1]])
CHAINS = Chains(
    right=IDS == GOLD[:, None],
    ids=IDS,
    gold=GOLD,
    tokens=TOKENS,
    same=np.array([[0, 1, 2, 3], [0, 0, 2, 3]]),  # the second problem's first two are one text
    scores={"PRM": np.array([[0.1, 0.2, 0.9, 0.3], [0.4, 0.4, 0.8, 0.7]])},
)
PROMPTS = np.array([10, 20])


def test_a_vote_is_taken_in_each_disjoint_set_and_all_of_it_is_paid():
    four = choose(CHAINS, PROMPTS, CFG, 4, "vote")
    np.testing.assert_array_equal(four.right, [1.0, 1.0])
    np.testing.assert_array_equal(four.tokens, [26.0, 18.0])
    np.testing.assert_allclose(four.flops, rollout_flops(CFG, PROMPTS, TOKENS))
    two = choose(CHAINS, PROMPTS, CFG, 2, "vote")  # ties go to the first: 0 | 1, and 0 | 1
    np.testing.assert_array_equal(two.right, [0.5, 0.5])
    np.testing.assert_array_equal(two.tokens, [13.0, 9.0])


def test_the_best_chain_is_that_of_the_highest_score():
    best = choose(CHAINS, PROMPTS, CFG, 4, "best", scores=CHAINS.scores["PRM"])
    np.testing.assert_array_equal(best.right, [1.0, 0.0])
    np.testing.assert_allclose(best.flops, rollout_flops(CFG, PROMPTS, TOKENS))  # scores are free


def test_a_verifier_reads_a_text_that_came_up_twice_only_once():
    judged = choose(
        CHAINS, PROMPTS, CFG, 4, "vote", scores=CHAINS.scores["PRM"], verifier_cfg=JUDGE
    )
    read = reading_flops(JUDGE, PROMPTS, np.array([[5, 6, 7, 8], [4, 0, 9, 1]]))
    np.testing.assert_allclose(judged.flops, rollout_flops(CFG, PROMPTS, TOKENS) + read)


def test_an_early_stop_pays_for_the_chains_up_to_there():
    ids = np.zeros((1, 16), int)
    chains = Chains(ids == 0, ids, np.array([0]), np.full((1, 16), 3), ids, {})
    stopped = choose(chains, PROMPTS[:1], CFG, 16, "early stop")
    assert stopped.right[0] == 1 and 0 < stopped.tokens[0] < 3 * 16
    assert stopped.flops[0] < choose(chains, PROMPTS[:1], CFG, 16, "vote").flops[0]


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(InputError, match="n is 3: expected a divisor of 4"):
        choose(CHAINS, PROMPTS, CFG, 3, "vote")
    with pytest.raises(InputError, match="there are no scores"):
        choose(CHAINS, PROMPTS, CFG, 2, "best")


def test_an_outcome_of_some_problems_and_its_share():
    outcome = Outcome(np.array([1.0, 0.0, 0.5]), np.arange(3), np.arange(3))
    assert outcome.of(np.array([True, False, True])).flops.tolist() == [0, 2]
    assert share(outcome.right[:2]).value == 0.5 and share(outcome.right[:2]).high < 1.0  # Wilson
    assert share(outcome.right).value == 0.5
