"""Every entry of config.json, changed, beside transformers.

Run by `make test-interop`.
"""

import contextlib
import io
import json

from absl import logging
import jax
import numpy as np
import pytest

from jaxseq.interop import huggingface
from tests.interop import config_fields_test

pytestmark = [
  pytest.mark.interop,
  # The other library's own business.
  pytest.mark.filterwarnings("default"),
]

# Names of classes and versions, with which nothing is loaded there.
_NAMES = ("architectures", "model_type", "transformers_version")
# It is about first values, yet 5.24 divides the weights of files by it, too.
_FIRST = "rescale_prenorm_residual"
_SCALED = (
  {"rope_type": "linear", "factor": 2.0},
  {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 8,
  },
  {"rope_type": "dynamic", "factor": 2.0},
)
# Logits are of size 1 to 10; a changed entry moves them by more.
_FLOAT32 = 1e-3


def _theirs(kind, directory, ids):
  """Returns the logits there; None if the library itself takes no such file."""
  import torch

  try:
    with contextlib.redirect_stderr(io.StringIO()):
      model, found = kind.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
      )
    lost = "missing_keys", "mismatched_keys", "unexpected_keys"
    if any(found[name] for name in lost):
      return None
    with torch.no_grad():
      ids = torch.from_numpy(ids.astype(np.int64))
      logits = model.eval()(ids, use_cache=False).logits.numpy()
  # Of a file that says nonsense it raises anything.
  except Exception:
    return None
  return logits if np.isfinite(logits).all() else None


def _load(directory):
  return huggingface.load(directory, context=127)


def _is_same(ours, others):
  """True if two models have the same options and parameters."""
  if ours[0] != others[0]:
    return False
  ours, others = jax.tree.leaves(ours[1]), jax.tree.leaves(others[1])
  return len(ours) == len(others) and all(map(np.array_equal, ours, others))


def _others(entry, value):
  """Yields other values of an entry."""
  yield from config_fields_test._changed(value)
  if isinstance(value, str):
    yield from (name for name in ("relu", "gelu", "silu") if name != value)
  if isinstance(value, dict) and "rope" in entry:
    yield from ({**value, **scaled} for scaled in _SCALED)
  if entry == "rope_scaling":
    yield from _SCALED


@pytest.mark.parametrize("name", config_fields_test.MODELS)
def test_a_changed_entry_is_followed_or_refused(name, tmp_path, monkeypatch):
  transformers = pytest.importorskip("transformers", reason="it is compared")
  monkeypatch.setattr(logging, "warning", lambda *words: None)
  transformers.logging.set_verbosity(transformers.logging.CRITICAL)
  base = config_fields_test.MODELS[name]
  described = transformers.AutoConfig.from_pretrained(base)
  kind = getattr(transformers, described.architectures[0])
  kind.from_pretrained(base).float().save_pretrained(tmp_path)
  # Its options would be checked beside the changed ones.
  (tmp_path / "generation_config.json").unlink(missing_ok=True)
  place = tmp_path / "config.json"
  contents = json.loads(place.read_text())
  if "rope_parameters" in contents:
    contents.setdefault("rope_scaling", None)
  plain = _load(tmp_path)
  network = huggingface.make_network(*plain)
  ids = np.random.default_rng(0).integers(3, network.vocab_size, (2, 19))
  ids = ids.astype(np.int32)
  logits, _ = network.apply(plain[1], ids)
  compared, wrong = 0, []
  for entry in contents.keys() - {*_NAMES, _FIRST}:
    for other in _others(entry, contents[entry]):
      place.write_text(json.dumps({**contents, entry: other}))
      want = _theirs(kind, tmp_path, ids)
      if want is None:
        continue
      try:
        changed = _load(tmp_path)
      except ValueError:
        continue
      got = logits
      if not _is_same(changed, plain):
        got, _ = huggingface.make_network(*changed).apply(changed[1], ids)
      compared += 1
      if np.abs(got - want).max() > _FLOAT32:
        wrong.append((entry, other))
  assert compared > 10
  assert not wrong
