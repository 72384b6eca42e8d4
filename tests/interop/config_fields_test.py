"""Every entry of config.json is read, refused, or known to change no number."""

import json
import pathlib

from absl import logging
import numpy as np
import pytest

from jaxseq.interop import _unread
from jaxseq.interop import huggingface

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
MODELS = {
  path.name: path
  for path in (
    *sorted((GOLDEN / "hybrids").iterdir()),
    GOLDEN / "interop" / "mamba",
    GOLDEN / "interop" / "mamba2",
  )
}
# Entries that say something of other models than these small ones: of a norm
# that is not there.
WITHOUT_EFFECT = {"falcon_h1": {"mamba_norm_before_gate"}}


def _changed(value):
  """Yields other values of an entry."""
  if isinstance(value, bool):
    yield not value
  elif isinstance(value, int):
    yield from (value + 1, 2 * value, value // 2, 1)
  elif isinstance(value, float):
    yield 1.5 * value + 0.25
  elif value is None:
    yield from (True, 3)
  elif isinstance(value, str):
    yield f"{value}_other"
  elif isinstance(value, dict):
    for key, each in value.items():
      yield from ({**value, key: other} for other in _changed(each))
  elif value and isinstance(value[-1], dict):
    yield [0.01, 0.02]
  else:
    yield [0]
    for i, each in enumerate(value):
      for other in _changed(each):
        yield [*value[:i], other, *value[i + 1 :]]


def _loaded(directory):
  """What a directory is loaded as: the options, and the parameters."""
  opened = huggingface.open_model(directory, context=7)
  tensors = {name: each.read() for name, each in opened.tensors.items()}
  params = {}
  for path, place in opened.places.items():
    if all(name in tensors for name in place.names):
      arrays = [tensors[name] for name in place.names]
      params[path] = np.asarray(place.read(arrays, np.float32)).tobytes()
  return opened.config, opened.vocab_size, params


def _is_seen(directory, expected):
  """True if what is loaded is another, or refused."""
  try:
    return _loaded(directory) != expected
  # Wrong sizes meet the tensors here without the checks of `load`.
  except (ValueError, IndexError):
    return True


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_is_read_or_harmless(name, tmp_path):
  contents = json.loads((MODELS[name] / "config.json").read_text())
  for path in MODELS[name].glob("*.safetensors"):
    (tmp_path / path.name).write_bytes(path.read_bytes())
  place = tmp_path / "config.json"
  place.write_text(json.dumps(contents))
  expected = _loaded(tmp_path)
  harmless = {each for names in _unread.HARMLESS.values() for each in names}
  missed = set()
  for entry, value in contents.items():
    seen = False
    for other in _changed(value):
      place.write_text(json.dumps({**contents, entry: other}))
      seen = seen or _is_seen(tmp_path, expected)
    if not seen and entry not in harmless:
      missed.add(entry)
  assert missed == WITHOUT_EFFECT.get(name, set())


def test_unknown_entries_are_named_in_a_warning(tmp_path, monkeypatch):
  said = []
  monkeypatch.setattr(logging, "warning", lambda *words: said.append(words))
  for path in MODELS["lfm2"].glob("*.safetensors"):
    (tmp_path / path.name).write_bytes(path.read_bytes())
  contents = json.loads((MODELS["lfm2"] / "config.json").read_text())
  more = {"hidden_scale": 2.0, "note": None, "architectures": ["Own"]}
  (tmp_path / "config.json").write_text(json.dumps(contents | more))
  huggingface.open_model(tmp_path)
  (words,) = said
  assert words[-1] == "hidden_scale = 2.0"
  contents["sliding_window"] = 8
  (tmp_path / "config.json").write_text(json.dumps(contents))
  with pytest.raises(ValueError, match="sliding_window: got 8, expected"):
    huggingface.open_model(tmp_path)
