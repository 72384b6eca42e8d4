"""Pretrained models as people use them: rows end at the model's end tokens."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from jaxseq import generation
from jaxseq.interop import huggingface
from jaxseq.models import pretrained
from tests import programs

MAMBA = programs.ROOT / "tests" / "golden" / "hybrids" / "falcon_mamba"


def test_rows_end_by_themselves(tmp_path):
  base = tmp_path / "model"
  shutil.copytree(MAMBA, base)
  prompts, length = [[5, 8, 13], [7, 1]], 12
  config, variables = huggingface.load(base)
  network = huggingface.make_network(config, variables)
  key = jax.random.key(0)
  every, _ = generation.generate(network, variables, prompts, length, key)
  every = np.asarray(every)
  # A token that the first row has in its middle, and an own one.
  end = int(every[0, 4])
  first = int(np.argmax(every[0] == end)) + 1
  (base / "generation_config.json").write_text(
    json.dumps({"eos_token_id": end})
  )
  entries = json.loads((base / "config.json").read_text())
  entries["eos_token_id"] = None
  (base / "config.json").write_text(json.dumps(entries))
  model = pretrained.load(base)
  assert (model.stop_tokens, model.codec) == ((end,), None)
  found = model.generate(prompts, length)
  assert (found.lengths[0], found.reasons[0]) == (first, "stop")
  np.testing.assert_array_equal(found.tokens[0, :first], every[0, :first])
  assert (found.tokens[0, first:] == end).all()
  assert (found.log_probs[0, first:] == 0).all()
  expected, _ = generation.generate(
    network, variables, prompts, length, key, stop=end
  )
  np.testing.assert_array_equal(found.tokens, expected)
  assert found.texts == ()
  texts = dataclasses.replace(model, codec=generation.Codec())
  assert texts.generate(prompts, length).texts[0].encode() == bytes(
    every[0, : first - 1].tolist()
  )
  # Beside the model's own, and in an engine.
  other = int(every[1, 1])
  shorter = model.generate(prompts, length, stop=other)
  assert shorter.lengths[1] == int(np.argmax(every[1] == other)) + 1
  ((row,),) = model.engine().run([generation.Request(prompts[0], length)])
  assert (row.reason, len(row.tokens)) == ("stop", first)
  with pytest.raises(ValueError, match="prompts: got 'a', expected a list"):
    model.generate("a", 3)
