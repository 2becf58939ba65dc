#!/usr/bin/env bash
# trl 1.16.0 with transformers 5.24.0: the loss of SFTTrainer leaves out what two models do to their logits.
#
# Behaviour: the trainer multiplies hidden states by lm_head.weight itself, and then applies the scale or soft
# cap of the model, which it looks up in the config under five names. RecurrentGemma calls its cap
# logits_soft_cap, and Dory (an nGPT) keeps a learned scale for each token inside its head: neither is applied,
# with no message. A Dory model that gives its texts a loss of 0.00 is trained as if that loss were above 2, and
# the scale never moves. Gemma 2, whose cap has another name, comes out right. DPO, KTO, RLOO and GRPO take their
# log-probabilities from the same function (add_fused_lm_head). Before training, compare trainer.evaluate() with
# model(input_ids=..., labels=...).loss; where they differ, pass a compute_loss_func, which gets the model's logits.
# Exits 0 while that is so, 1 when it changes. torch 2.13.0 on CPU.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile "torch==2.13.0" "transformers==5.24.0" "trl==1.16.0"
cat > "$work/show.py" <<'PY'
import sys, warnings
import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer, models
from transformers import (
    DoryConfig, DoryForCausalLM, Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast,
    RecurrentGemmaConfig, RecurrentGemmaForCausalLM,
)
from trl import SFTConfig, SFTTrainer

warnings.filterwarnings("ignore")
disable_progress_bars()
SHAPE = dict(vocab_size=64, hidden_size=64, intermediate_size=96, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16, num_hidden_layers=3, tie_word_embeddings=False)
texts = torch.randint(3, 64, (4, 16), generator=torch.Generator().manual_seed(0))
words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(64)}, unk_token="t0"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="t0", eos_token="t1", bos_token="t2")


def own_loss(model):
    return model(input_ids=texts, labels=texts).loss


def from_logits(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def trainer_of(model, loss=None):
    data = Dataset.from_dict({"input_ids": texts.tolist()})
    args = SFTConfig(output_dir=sys.argv[1], use_cpu=True, bf16=False, report_to="none", max_steps=2,
                     gradient_checkpointing=False, save_strategy="no", disable_tqdm=True)
    return SFTTrainer(model=model, args=args, train_dataset=data, eval_dataset=data, processing_class=tokenizer,
                      compute_loss_func=loss)


differ = {}
for name, config, cls in (
    ("Gemma2", Gemma2Config(**SHAPE), Gemma2ForCausalLM),
    ("RecurrentGemma", RecurrentGemmaConfig(**SHAPE, lru_width=64), RecurrentGemmaForCausalLM),
    ("Dory", DoryConfig(**SHAPE, n_input_layers=1, n_output_layers=1), DoryForCausalLM),
):
    torch.manual_seed(0)
    model = cls(config)
    if name == "Dory":  # learns the texts by its own loss
        adam = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(40):
            adam.zero_grad()
            own_loss(model).backward()
            adam.step()
    else:  # raw logits up to 40, so that the cap of 30 matters
        with torch.no_grad():
            model.lm_head.weight.mul_(40 / (model.model(texts).last_hidden_state @ model.lm_head.weight.T).abs().max())
    model.eval()
    with torch.no_grad():
        own = own_loss(model).item()
    trainer = trainer_of(model)
    trained_on = trainer.evaluate()["eval_loss"]
    differ[name] = abs(own - trained_on)
    print(f"{name}: loss of the model {own:.3f}, of SFTTrainer {trained_on:.3f}")

with_loss = trainer_of(model, from_logits).evaluate()["eval_loss"]
print(f"Dory, SFTTrainer with compute_loss_func: {with_loss:.3f}")
scale, weight = model.lm_head.logit_scale.detach().clone(), model.lm_head.weight.detach().clone()
trainer.train()
still = torch.equal(scale, model.lm_head.logit_scale) and not torch.equal(weight, model.lm_head.weight)
print("two steps of SFTTrainer move Dory's head but not its scale:", still)
as_described = differ["Gemma2"] < 1e-3 and differ["RecurrentGemma"] > 0.5 and differ["Dory"] > 0.5 and still
as_described &= abs(own - with_loss) < 1e-3
sys.exit(0 if as_described else 1)
PY
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$work/venv/bin/python" "$work/show.py" "$work/out" | grep -v "^{"
