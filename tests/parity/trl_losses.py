"""The losses of TRL's trainers on fixed tensors, and ours in the same terms."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from families import build
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

VOCAB, NUM_SAMPLES, LENGTH = 48, 4, 6
PROMPTS = ("t5 t7 t9 t11 t13", "t6 t8 t10", "t12")
REWARDS = np.array([[1, 0, 0, 1], [0, 0.5, 0, 2], [1, 1, 1, 1]], np.float32)
# Our variant -> TRL's options; RLOO has a trainer of its own, and its ratio is one of whole chains.
VARIANTS: dict[str, dict[str, Any]] = {
    "GRPO": {
        "loss_type": "grpo",
        "beta": 0.04,
        "use_bias_correction_kl": False,
    },  # the KL of the paper's equation 4
    "DR_GRPO": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "DAPO": {"loss_type": "dapo", "epsilon_high": 0.28},
    "GSPO": {
        "loss_type": "grpo",
        "importance_sampling_level": "sequence",
        "epsilon": 3e-4,
        "epsilon_high": 4e-4,
    },
    "RLOO": {},
    "CISPO": {"loss_type": "cispo", "epsilon_high": 1.2},  # the largest weight, our 1 + high
}


class Fixed(NamedTuple):
    """The tensors of one comparison; numpy."""

    prompt: np.ndarray  # [B, P] int64, padded on the left
    prompt_mask: np.ndarray  # [B, P] bool
    tokens: np.ndarray  # [B, N, T] int64
    mask: np.ndarray  # [B, N, T] bool
    logprobs: np.ndarray  # [B, N, T] float32, of the policy that drew them
    reference: np.ndarray  # [B, N, T] float32


def tokenizer() -> PreTrainedTokenizerFast:
    """Token i is the word ti."""
    backend = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCAB)}, unk_token="t2"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="t0", eos_token="t1", padding_side="left"
    )


def make_trainer(name: str, folder: Path, **changes):
    """TRL's trainer of a variant of the model "llama"; its reward of chain n of prompt b is
    REWARDS[b, n].
    """
    build("llama").save_pretrained(folder / "model")  # the trainer reads the reference from there
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    rows = [prompt for prompt in PROMPTS for _ in range(NUM_SAMPLES)]
    config, trainer = (RLOOConfig, RLOOTrainer) if name == "RLOO" else (GRPOConfig, GRPOTrainer)
    options = {"beta": 0.0} | VARIANTS[name] | changes
    args = config(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        gradient_checkpointing=False,
        disable_tqdm=True,
        per_device_train_batch_size=len(rows),
        per_device_eval_batch_size=len(rows),
        num_generations=NUM_SAMPLES,
        max_completion_length=LENGTH,
        **options,
    )
    made = trainer(
        model=model,
        reward_funcs=lambda completions, **_: REWARDS.reshape(-1).tolist(),
        args=args,
        train_dataset=Dataset.from_dict({"prompt": list(PROMPTS)}),
        processing_class=tokenizer(),
    )
    made.model.eval()  # no dropout, and one batch is a whole step
    return made


def generated(trainer) -> dict[str, torch.Tensor]:
    """What a trainer makes of chains that it draws itself; its advantages, of REWARDS, among it."""
    return trainer._generate_and_score_completions(
        [{"prompt": p} for p in PROMPTS for _ in range(NUM_SAMPLES)]
    )


def fixed_tensors(model: torch.nn.Module, seed: int = 0) -> Fixed:
    """Chains of all lengths, drawn by a policy and compared with a reference that are some way from
    the model.
    """
    rng = np.random.default_rng(seed)
    ids = [[int(word[1:]) for word in prompt.split()] for prompt in PROMPTS]
    width = max(map(len, ids))
    prompt = np.array([[0] * (width - len(row)) + row for row in ids])
    prompt_mask = np.array([[i >= width - len(row) for i in range(width)] for row in ids])
    shape = (len(PROMPTS), NUM_SAMPLES, LENGTH)
    tokens = rng.integers(2, VOCAB, shape)
    mask = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, shape[:2])[..., None]
    now = logprobs(model, Fixed(prompt, prompt_mask, tokens, mask, *np.zeros((2, *shape))))
    old, reference = (now + scale * rng.normal(size=shape) for scale in (0.2, 0.3))
    return Fixed(
        prompt, prompt_mask, tokens, mask, old.astype(np.float32), reference.astype(np.float32)
    )


def torch_inputs(fixed: Fixed) -> dict[str, torch.Tensor]:
    """The tensors as a trainer's ``_compute_loss`` takes them, chains in one axis."""

    def rows(x: np.ndarray) -> torch.Tensor:
        return torch.tensor(x.reshape(-1, x.shape[-1]))

    mask = rows(fixed.mask).long()
    return {
        "prompt_ids": rows(np.repeat(fixed.prompt, NUM_SAMPLES, axis=0)),
        "prompt_mask": rows(np.repeat(fixed.prompt_mask, NUM_SAMPLES, axis=0)).long(),
        "completion_ids": rows(fixed.tokens),
        "completion_mask": mask,
        "old_per_token_logps": rows(fixed.logprobs),
        "ref_per_token_logps": rows(fixed.reference),
        "old_logps": (rows(fixed.logprobs) * mask).sum(-1),
        "num_items_in_batch": mask.sum(),
    }


@torch.no_grad()
def logprobs(model: torch.nn.Module, fixed: Fixed) -> np.ndarray:
    """The model's own log-probabilities of the chains, [B, N, T]."""
    given = torch_inputs(fixed)
    ids = torch.cat([given["prompt_ids"], given["completion_ids"]], dim=1)
    mask = torch.cat([given["prompt_mask"], torch.ones_like(given["completion_ids"])], dim=1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[
        :, -LENGTH - 1 : -1
    ]
    chosen = logits.log_softmax(-1).gather(-1, given["completion_ids"][..., None])
    return chosen.numpy().reshape(fixed.tokens.shape)


def trl_loss(
    name: str, fixed: Fixed, folder: Path
) -> tuple[float, np.ndarray, dict[str, np.ndarray]]:
    """TRL's loss, its advantages [B, N] of REWARDS, and the gradient of every parameter."""
    trainer = make_trainer(name, folder)
    advantages = generated(trainer)["advantages"]
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, torch_inputs(fixed) | {"advantages": advantages})
    loss.backward()
    gradients = {key: p.grad.numpy().copy() for key, p in trainer.model.named_parameters()}
    return float(loss), advantages.numpy().reshape(REWARDS.shape), gradients


def on_policy(model: torch.nn.Module, fixed: Fixed) -> Fixed:
    """The same chains, as if the model had drawn them itself."""
    return fixed._replace(logprobs=logprobs(model, fixed))
