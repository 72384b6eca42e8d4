"""Entries of `config.json` that several families have."""

import pytest

from jaxseq.interop import _entries


def _entries_of(context=None, **contents):
  return _entries.Entries(contents, "config.json", context=context)


def test_rotary_positions():
  assert _entries_of().rotary() == (10000.0, 1.0)
  said = {"rope_theta": 5e5, "rope_type": "default"}
  assert _entries_of(rope_parameters=said).rotary() == (5e5, 1.0)
  assert _entries_of(
    rope_theta=100, rope_scaling=None, partial_rotary_factor=0.25
  ).rotary() == (100.0, 0.25)
  with pytest.raises(
    ValueError, match=r"rope_parameters: rope_type: got 'yarn"
  ):
    _entries_of(rope_parameters={"rope_type": "yarn"}).rotary()
  with pytest.raises(ValueError, match="rope_scaling: type: got 'linear', exp"):
    _entries_of(rope_scaling={"type": "linear", "factor": 2}).rotary()
  # The older name wins, as it does in the other library.
  both = {"rope_parameters": said, "rope_scaling": {"rope_theta": 7.0}}
  assert _entries_of(**both).rotary() == (7.0, 1.0)
  both["rope_scaling"] = {"rope_type": "yarn", "factor": 4.0}
  with pytest.raises(ValueError, match="rope_scaling: rope_type: got 'yarn'"):
    _entries_of(**both).rotary()
  nested = {"full_attention": {"rope_theta": 5e5}}
  with pytest.raises(ValueError, match=r"got \['full_attention'\], expected"):
    _entries_of(rope_parameters=nested).rotary()
  with pytest.raises(ValueError, match=r"rope_parameters: got \[\], expected"):
    _entries_of(rope_parameters=[]).rotary()


def test_kinds_of_layers():
  known = {"full_attention": "attention", "attention": "attention"}
  entries = _entries_of(kinds=["full_attention"] * 2, num_hidden_layers=2)
  assert entries.kinds("kinds", known) == ("attention", "attention")
  for value, message in (
    ("x", "kinds: got 'x', expected a list with"),
    (["attention"], "kinds: got '1 kinds', expected 2, one a layer"),
    (["attention", "other"], "kinds: got 'other', expected one of 'full_att"),
    (["attention", ["a"]], r"kinds: got \['a'\], expected one of"),
  ):
    with pytest.raises(ValueError, match=message):
      _entries_of(kinds=value, num_hidden_layers=2).kinds("kinds", known)


def test_context():
  assert _entries_of().context == 4095
  assert _entries_of(max_position_embeddings=128).context == 128
  assert _entries_of(max_position_embeddings=4096).context == 4095
  with pytest.raises(ValueError, match="context: got None, .* 4096 for all of"):
    assert _entries_of(max_position_embeddings=4097).context
  assert _entries_of(9000, max_position_embeddings=128).context == 9000
  with pytest.raises(ValueError, match="context: got 0, expected an integer"):
    assert _entries_of(0).context
  with pytest.raises(ValueError, match="max_position_embeddings: got 0, exp"):
    assert _entries_of(max_position_embeddings=0).context
