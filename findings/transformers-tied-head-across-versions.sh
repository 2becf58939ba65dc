#!/usr/bin/env bash
# A checkpoint whose config ties the head but which stores another one: transformers 4.57.6 drops the
# stored head without a message, 5.24.0 uses it. The same files give other logits.
#
# Exits 0 while that is so, 1 when it changes. torch 2.13.0 on CPU.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export WORK=$work
cat > "$work/show.py" <<'PY'
import json, os, sys
import torch, transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

folder = os.environ["WORK"] + "/model"
if not os.path.exists(folder):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
                         num_key_value_heads=4, tie_word_embeddings=False)
    LlamaForCausalLM(config).save_pretrained(folder)
    path = folder + "/config.json"
    json.dump(json.load(open(path)) | {"tie_word_embeddings": True}, open(path, "w"))
model = AutoModelForCausalLM.from_pretrained(folder)
tied = torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
print("transformers", transformers.__version__, "head is the embedding:", tied)
sys.exit(0 if tied == transformers.__version__.startswith("4") else 1)
PY
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "torch==2.13.0" numpy "transformers==4.57.6"
"$work/venv/bin/python" "$work/show.py"
"$work/venv/bin/pip" install --quiet "transformers==5.24.0" 2>/dev/null
"$work/venv/bin/python" "$work/show.py"
