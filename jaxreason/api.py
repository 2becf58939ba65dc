"""The public names, all of them attributes of ``jaxreason`` itself, in the order data flows:

prompt -> tokens -> rollout -> verify -> vote | update
"""

from jaxreason.budget import complete_within
from jaxreason.distill import filter_traces, kd_loss, on_policy_loss
from jaxreason.errors import InputError
from jaxreason.evaluate import accuracy, paired_difference
from jaxreason.extract import extract_answer
from jaxreason.grpo import group_advantages, grpo_loss
from jaxreason.grpo_device import make_grpo_step
from jaxreason.logprobs import token_logprobs
from jaxreason.mesh import make_mesh
from jaxreason.models.decoder import forward
from jaxreason.models.hf import load_model, save_model
from jaxreason.prompts import chat, direct, few_shot, zero_shot_cot
from jaxreason.reward_model import load_reward_model, step_scores
from jaxreason.rollout import compile_stop, complete, generate
from jaxreason.sampling import GREEDY, Sampler
from jaxreason.sft import sft_loss
from jaxreason.tasks import load_problems
from jaxreason.train import fit, make_update
from jaxreason.verify import answer_ids, is_correct
from jaxreason.vote import best_of_n, early_stop, majority, pass_at_k

__all__ = [
    "InputError",
    "load_problems",
    "direct", "zero_shot_cot", "few_shot", "chat",
    "make_mesh", "load_model", "save_model", "forward",
    "Sampler", "GREEDY", "generate", "complete", "complete_within", "compile_stop", "token_logprobs",
    "extract_answer", "is_correct", "answer_ids",
    "majority", "early_stop", "best_of_n", "pass_at_k",
    "load_reward_model", "step_scores",
    "sft_loss", "group_advantages", "grpo_loss", "make_grpo_step", "filter_traces", "kd_loss", "on_policy_loss", "make_update", "fit",
    "accuracy", "paired_difference",
]  # fmt: skip
