"""The public names, all of them attributes of ``jaxreason`` itself, in the order data flows:

prompt -> tokens -> rollout -> answers and scores -> vote | search | update -> interval

Result types stand before the functions that return them. Five modules of ``search`` are exported
whole, because their functions have short names: write ``mcts.search`` and ``lm_mcts.search``.
"""

from jaxreason.answers.extract import Answer, extract_answer
from jaxreason.answers.verify import Gold, answer_ids, chosen, grade, is_correct
from jaxreason.answers.vote import (
    Vote,
    best_of_n,
    early_stop,
    entropy,
    filtered_majority,
    logprob_weights,
    majority,
    pass_at_k,
    vote,
)
from jaxreason.decoding.budget_forcing import complete_within
from jaxreason.decoding.completions import Completions, complete
from jaxreason.decoding.logprobs import text_logprobs, token_logprobs
from jaxreason.decoding.prompts import chat, direct, few_shot, zero_shot_cot
from jaxreason.decoding.rollout import Rollout, Rule, generate
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.decoding.stop import Stop, compile_stop
from jaxreason.errors import InputError
from jaxreason.evaluation.compute_optimal import (
    Capped,
    allocate,
    compute_optimal,
    within_budget,
)
from jaxreason.evaluation.flops import forward_flops, rollout_flops, search_flops, training_flops
from jaxreason.evaluation.intervals import (
    Interval,
    accuracy,
    auc,
    detectable,
    mean_interval,
    paired_difference,
    wilson,
)
from jaxreason.evaluation.results import Results
from jaxreason.mesh import make_mesh
from jaxreason.models.cache import Cache
from jaxreason.models.decoder import DecoderConfig, Params, forward
from jaxreason.models.hf import load_model, save_model
from jaxreason.models.lora import init_lora, merge_lora, save_lora
from jaxreason.models.tokens import Prompt, encode_prompts, pad_left
from jaxreason.models.weights import LanguageModel
from jaxreason.rewards.reward_model import (
    RewardModel,
    aggregate,
    first_error,
    from_policy,
    load_reward_model,
    save_reward_model,
    step_scores,
)
from jaxreason.rewards.step_labels import (
    Cost,
    LabelledChain,
    RewardKind,
    monte_carlo_labels,
    split_steps,
)
from jaxreason.search import evaluators, lm_evaluators, lm_mcts, lm_tasks, mcts
from jaxreason.search.proposers import propose_thoughts, sample_thoughts
from jaxreason.search.tree_of_thoughts import (
    Evaluate,
    Proposals,
    Propose,
    Rules,
    Scores,
    State,
    Thought,
    Tree,
    bfs,
    dfs,
    dvts,
)
from jaxreason.tasks import load_problems
from jaxreason.tasks.problem import Problem
from jaxreason.training.distill import (
    Divergence,
    Filtered,
    Samples,
    Trace,
    answer_traces,
    filter_traces,
    kd_loss,
    on_policy_loss,
    trace_batches,
)
from jaxreason.training.grpo import (
    CISPO,
    DAPO,
    DR_GRPO,
    GRPO,
    GSPO,
    RLOO,
    Objective,
    group_advantages,
)
from jaxreason.training.grpo_batch import GroupBatch, grpo_loss, make_batch
from jaxreason.training.grpo_device import (
    Problems,
    Step,
    encode_problems,
    make_grpo_step,
    problem_batches,
)
from jaxreason.training.grpo_text import TextReward, make_text_update, text_batches
from jaxreason.training.loop import TrainState, fit, init_state, make_update
from jaxreason.training.memory import Memory, Workload, grpo_memory
from jaxreason.training.ppo import PPO, PPOBatch, gae, init_critic, make_ppo_step, ppo_loss
from jaxreason.training.sft import Batch, Document, encode_pairs, pack, sft_loss
from jaxreason.training.token_rewards import RewardFn, exact_match

__all__ = [
    # errors: what bad input raises
    "InputError",
    # mesh: the devices
    "make_mesh",
    # tasks: problems
    "Problem",
    "load_problems",
    # models: weights and tokens
    "DecoderConfig",
    "Cache",
    "Params",
    "LanguageModel",
    "load_model",
    "save_model",
    "Prompt",
    "encode_prompts",
    "pad_left",
    "forward",
    "init_lora",
    "merge_lora",
    "save_lora",
    # decoding: from a prompt to chains
    "direct",
    "zero_shot_cot",
    "few_shot",
    "chat",
    "Sampler",
    "GREEDY",
    "Stop",
    "compile_stop",
    "Rule",
    "Rollout",
    "generate",
    "Completions",
    "complete",
    "complete_within",
    "token_logprobs",
    "text_logprobs",
    # answers: from chains to a vote
    "Answer",
    "extract_answer",
    "Gold",
    "is_correct",
    "grade",
    "answer_ids",
    "Vote",
    "vote",
    "majority",
    "chosen",
    "filtered_majority",
    "logprob_weights",
    "entropy",
    "early_stop",
    "best_of_n",
    "pass_at_k",
    # rewards: scores of steps and chains
    "RewardKind",
    "LabelledChain",
    "Cost",
    "split_steps",
    "monte_carlo_labels",
    "RewardModel",
    "from_policy",
    "load_reward_model",
    "save_reward_model",
    "step_scores",
    "aggregate",
    "first_error",
    # search: trees of lines of thought; last the modules
    "State",
    "Thought",
    "Proposals",
    "Propose",
    "Scores",
    "Evaluate",
    "Rules",
    "Tree",
    "bfs",
    "dfs",
    "dvts",
    "sample_thoughts",
    "propose_thoughts",
    "evaluators",
    "mcts",
    "lm_tasks",
    "lm_evaluators",
    "lm_mcts",
    # training: updates
    "TrainState",
    "init_state",
    "make_update",
    "fit",
    "Document",
    "Batch",
    "encode_pairs",
    "pack",
    "sft_loss",
    "Objective",
    "GRPO",
    "DR_GRPO",
    "DAPO",
    "RLOO",
    "GSPO",
    "CISPO",
    "GroupBatch",
    "group_advantages",
    "make_batch",
    "grpo_loss",
    "Problems",
    "encode_problems",
    "problem_batches",
    "RewardFn",
    "exact_match",
    "Step",
    "make_grpo_step",
    "PPO",
    "PPOBatch",
    "init_critic",
    "gae",
    "ppo_loss",
    "make_ppo_step",
    "TextReward",
    "text_batches",
    "make_text_update",
    "Trace",
    "Filtered",
    "filter_traces",
    "answer_traces",
    "trace_batches",
    "Divergence",
    "kd_loss",
    "Samples",
    "on_policy_loss",
    "Workload",
    "Memory",
    "grpo_memory",
    # evaluation: from results to claims
    "Interval",
    "wilson",
    "accuracy",
    "mean_interval",
    "paired_difference",
    "auc",
    "detectable",
    "forward_flops",
    "training_flops",
    "rollout_flops",
    "search_flops",
    "Capped",
    "within_budget",
    "allocate",
    "compute_optimal",
    "Results",
]
