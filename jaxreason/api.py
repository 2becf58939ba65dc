"""The public names, all of them attributes of ``jaxreason`` itself, in the order data flows:

prompt -> tokens -> rollout -> verify -> vote | update
"""

from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import answer_ids, is_correct
from jaxreason.answers.vote import best_of_n, early_stop, majority, pass_at_k
from jaxreason.decoding.budget_forcing import complete_within
from jaxreason.decoding.completions import complete
from jaxreason.decoding.logprobs import token_logprobs
from jaxreason.decoding.prompts import chat, direct, few_shot, zero_shot_cot
from jaxreason.decoding.rollout import generate
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.evaluation.intervals import accuracy, paired_difference
from jaxreason.mesh import make_mesh
from jaxreason.models.decoder import forward
from jaxreason.models.hf import load_model, save_model
from jaxreason.rewards.reward_model import load_reward_model, step_scores
from jaxreason.tasks import load_problems
from jaxreason.training.distill import filter_traces, kd_loss, on_policy_loss
from jaxreason.training.grpo import group_advantages
from jaxreason.training.grpo_batch import grpo_loss
from jaxreason.training.grpo_device import make_grpo_step
from jaxreason.training.loop import fit, make_update
from jaxreason.training.sft import sft_loss

__all__ = [
    "InputError",
    "load_problems",
    "direct",
    "zero_shot_cot",
    "few_shot",
    "chat",
    "make_mesh",
    "load_model",
    "save_model",
    "forward",
    "Sampler",
    "GREEDY",
    "generate",
    "complete",
    "complete_within",
    "compile_stop",
    "token_logprobs",
    "extract_answer",
    "is_correct",
    "answer_ids",
    "majority",
    "early_stop",
    "best_of_n",
    "pass_at_k",
    "load_reward_model",
    "step_scores",
    "sft_loss",
    "group_advantages",
    "grpo_loss",
    "make_grpo_step",
    "filter_traces",
    "kd_loss",
    "on_policy_loss",
    "make_update",
    "fit",
    "accuracy",
    "paired_difference",
]
