#!/usr/bin/env bash
# transformers 5.24.0 writes a Llama config whose rope base 4.57.6 reads as 10,000, without a message.
#
# Behaviour: LlamaConfig(rope_theta=500000.0).save_pretrained of 5.24.0 writes the base inside
# "rope_parameters" only. 4.57.6 reads "rope_theta" only, and takes its default of 10,000: the model
# loads, and its logits are others. A file with both keys is read alike by both versions.
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 5.24.0 4.57.6; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/pip" install --quiet "transformers==$version"
done
export WORK=$work
"$work/5.24.0/bin/python" - <<'PY'
import os
from transformers import LlamaConfig
LlamaConfig(rope_theta=500000.0).save_pretrained(os.environ["WORK"] + "/model")
PY
grep -A4 rope "$work/model/config.json"
"$work/4.57.6/bin/python" - <<'PY'
import json, os, sys
from transformers import AutoConfig
folder = os.environ["WORK"] + "/model"
first = AutoConfig.from_pretrained(folder).rope_theta
path = folder + "/config.json"
both = json.load(open(path)) | {"rope_theta": 500000.0}
json.dump(both, open(path, "w"))
second = AutoConfig.from_pretrained(folder).rope_theta
print("saved 500000.0 by 5.24.0; 4.57.6 reads", first, "and with rope_theta beside it", second)
sys.exit(0 if (first, second) == (10000.0, 500000.0) else 1)
PY
