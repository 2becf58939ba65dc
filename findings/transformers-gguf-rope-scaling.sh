#!/usr/bin/env bash
# transformers 5.24.0 loads a GGUF file of a Llama model without its rope scaling, and without a message.
#
# Behaviour: a GGUF file states the scaling in rope.scaling.type and rope.scaling.factor (linear, yarn), or in the
# tensor rope_freqs.weight (Llama 3.1 and later). from_pretrained(..., gguf_file=...) reads neither for llama: the
# config says rope_type "default", and the logits are others. The weights are right: loaded with config=, the config
# of the original repository, the same file gives the logits of the model. So pass that config beside gguf_file=.
# Exits 0 while that is so, 1 when it changes. gguf 0.19.0 writes the files, torch 2.13.0 on CPU.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile "torch==2.13.0" "transformers==5.24.0" "gguf==0.19.0" accelerate
cat > "$work/show.py" <<'PY'
import functools, pathlib, re, sys
import gguf, numpy as np, torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

folder = pathlib.Path(sys.argv[1])
folder.mkdir()
NAMES = {  # of transformers, and of the GGUF format
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "model.layers": "blk",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}


def write(model, rope):
    config, file = model.config, gguf.GGUFWriter(folder / "model.gguf", "llama")
    file.add_name("model")
    file.add_vocab_size(config.vocab_size)
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_block_count(config.num_hidden_layers)
    file.add_head_count(config.num_attention_heads)
    file.add_head_count_kv(config.num_key_value_heads)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_rope_freq_base(rope["rope_theta"])
    file.add_rope_dimension_count(config.head_dim)
    if rope["rope_type"] in ("linear", "yarn"):
        file.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        file.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        file.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "llama3":  # by how much each frequency is divided
        unscaled = rope["rope_theta"] ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
        file.add_tensor("rope_freqs.weight", np.float32(unscaled / model.model.rotary_emb.inv_freq.numpy()))
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if re.search("[qk]_proj", name):  # the format wants the two halves of a head interleaved
            halves = array.reshape(config.num_attention_heads, 2, config.head_dim // 2, config.hidden_size)
            array = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        file.add_tensor(name, array)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


tokens = torch.arange(32)[None]
as_described = True
for rope in (
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
    {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 128},
):
    rope = rope | {"rope_theta": 10_000.0}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512,
                         initializer_range=0.2, rope_parameters=rope)
    model = LlamaForCausalLM(config).eval()
    write(model, rope)
    load = functools.partial(
        AutoModelForCausalLM.from_pretrained, folder, gguf_file="model.gguf", dtype=torch.float32
    )
    loaded, with_config = load().eval(), load(config=config).eval()
    with torch.no_grad():
        logits = model(tokens).logits
        off, off_with_config = ((logits - other(tokens).logits).abs().max().item() for other in (loaded, with_config))
    read = loaded.config.rope_parameters["rope_type"]
    print(f"{rope['rope_type']} is read as {read}: logits of up to {logits.abs().max():.1f} are off by {off:.2g}, "
          f"and by {off_with_config:.2g} with config=")
    scaled = rope["rope_type"] != "default"
    as_described &= read == "default" and off_with_config < 1e-4 and (off > 0.1 if scaled else off < 1e-4)
sys.exit(0 if as_described else 1)
PY
HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/show.py" "$work/model" 2>&1 | grep -v "Loading weights\|Converting"
