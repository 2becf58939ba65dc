#!/usr/bin/env bash
# transformers 5.24.0: AutoTokenizer beside a Qwen2 config replaces any tokenizer by Qwen2Tokenizer.
#
# Behaviour: a directory holds tokenizer.json of a Unigram tokenizer, tokenizer_config.json with
# "tokenizer_class": "PreTrainedTokenizerFast" (or "TokenizersBackend", as 5.24.0 itself writes), and a
# config.json with "model_type": "qwen2". AutoTokenizer.from_pretrained then returns a Qwen2Tokenizer: a
# BPE without merges, with one token more ("<|endoftext|>") and other ids for the same text. No error.
# With "model_type": "llama" the same files give the tokenizer that was saved.
# Way round: PreTrainedTokenizerFast.from_pretrained(directory).
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "transformers==5.24.0" "tokenizers==0.23.3"
cat > "$work/show.py" <<'PY'
import json, pathlib, sys
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

folder = pathlib.Path(sys.argv[1])
pieces = [("<eos>", 0.0), ("Tom", -1.0), *((letter, -10.0) for letter in "Tomhas ")]
pieces = list(dict(reversed(pieces)).items())[::-1]
backend = Tokenizer(models.Unigram(pieces, unk_id=0))
PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>").save_pretrained(folder)
found = {}
for model_type in ("llama", "qwen2"):
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    for name in ("PreTrainedTokenizerFast", "TokenizersBackend"):
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": name}))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        found[model_type, name] = (type(tokenizer).__name__, len(tokenizer), tokenizer("Tom has").input_ids)
        print(model_type, name, "->", *found[model_type, name])
own = PreTrainedTokenizerFast.from_pretrained(folder)
right = (len(own), own("Tom has").input_ids)
print("PreTrainedTokenizerFast.from_pretrained ->", *right)
as_saved = all(found["llama", name][1:] == right for name in ("PreTrainedTokenizerFast", "TokenizersBackend"))
replaced = all(
    found["qwen2", name][0] == "Qwen2Tokenizer" and found["qwen2", name][1] == right[0] + 1
    and found["qwen2", name][2] != right[1]
    for name in ("PreTrainedTokenizerFast", "TokenizersBackend")
)
print("as described:", as_saved and replaced)
sys.exit(0 if as_saved and replaced else 1)
PY
"$work/venv/bin/python" "$work/show.py" "$work/model"
