"""A small Gemma 3 in a GGUF file, against transformers' own reading of that file."""

import gguf
import numpy as np
import torch
from compare_gguf import load_theirs, logits_of_both
from families import batch, fill
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from jaxreason.models.hf import load_model


def write(path, model: torch.nn.Module) -> None:
    """As convert_hf_to_gguf.py does."""
    config = model.config
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
    writer.add_sliding_window(config.sliding_window)
    writer.add_vocab_size(config.vocab_size)
    tokens = ["<pad>", "<eos>", "<bos>", *map(chr, range(ord("a"), ord("a") + 45))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([3] * 3 + [1] * 45)
    writer.add_eos_token_id(1)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue  # tied
        array = weight.numpy() + ("norm" in name)  # a file holds 1 + w
        writer.add_tensor(names.get_name(name, (".weight",)), array.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_transformers_reads_the_same_model(tmp_path):
    """Sizes, bases and scale are those that transformers takes for granted in such a file."""
    config = Gemma3TextConfig(
        vocab_size=48,
        hidden_size=16,
        intermediate_size=20,
        num_hidden_layers=7,  # the sixth has full attention
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=256,
        max_position_embeddings=128,
        sliding_window=4,
    )
    path = tmp_path / "model.gguf"
    write(path, fill(Gemma3ForCausalLM(config).eval()))
    tokens, mask = (x.numpy().astype(np.int32) for x in batch())
    ours, theirs = logits_of_both(load_model(path, "float32"), load_theirs(path), tokens, mask)
    real = mask > 0
    assert np.abs(theirs[real]).max() > 1
    # Theirs are up to 1.5e-4 from the logits in float64, ours 0.7e-4.
    np.testing.assert_allclose(ours[real], theirs[real], rtol=1e-4, atol=1e-4)
