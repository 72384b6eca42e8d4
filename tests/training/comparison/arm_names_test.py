"""Arms are called by the mixers that they have."""

import json

import pytest

from jaxseq.training.comparison import _arm_names


def _fields(**mixers):
  return {
    "seed": 0,
    "arms": {
      name.replace("_4", "-4"): {"network": {"stack": {"mixer": mixer}}}
      for name, mixer in mixers.items()
    },
  }


@pytest.mark.parametrize(
  ("before", "after", "names"),
  [
    ({"gru": "gru", "s5": "s5"}, {"gru": "ffm", "s5": "s5"}, ["ffm", "s5"]),
    ({"gru_4": "gru"}, {"gru_4": "lstm"}, ["lstm-4"]),
    ({"gru": "gru", "s5": "s5"}, {"gru": "s5", "s5": "s5"}, ["gru-s5", "s5"]),
    # Names that say something else, or still what is there, stay.
    ({"small": "gru"}, {"small": "lstm"}, ["small"]),
    ({"grus": "gru"}, {"grus": "lstm"}, ["grus"]),
    ({"gru": "gru"}, {"gru": "gru"}, ["gru"]),
    ({"gru": "lstm"}, {"gru": "s5"}, ["gru"]),
    ({"gru": "gru"}, {"gru": "gru", "new": "lstm"}, ["gru", "new"]),
  ],
)
def test_an_arm_gets_the_name_of_its_mixer(tmp_path, before, after, names):
  fields = _fields(**after)
  renamed = _arm_names.renamed(_fields(**before), fields, tmp_path)
  assert list(renamed["arms"]) == names
  assert list(renamed["arms"].values()) == list(fields["arms"].values())
  assert renamed["seed"] == 0


def test_an_arm_of_several_mixers_keeps_its_name(tmp_path):
  stack = {"layers": [{"mixer": "gru"}, {"mixer": "attention"}]}
  before = {"arms": {"gru": {"stack": stack}}}
  after = {"arms": {"gru": {"stack": {"layers": [{"mixer": "lstm"}]}}}}
  assert "gru" in _arm_names.renamed(before, after, tmp_path)["arms"]
  assert _arm_names.renamed({}, {"seed": 1}, tmp_path) == {"seed": 1}


def test_a_run_goes_on_with_the_name_that_it_began_with(tmp_path):
  change = _fields(gru="gru"), _fields(gru="lstm")
  config = {"config": {"arms": {"gru": {}}}}
  (tmp_path / "config.json").write_text(json.dumps(config))
  assert list(_arm_names.renamed(*change, tmp_path)["arms"]) == ["gru"]
  config = {"config": {"arms": {"lstm": {}}}}
  (tmp_path / "config.json").write_text(json.dumps(config))
  assert list(_arm_names.renamed(*change, tmp_path)["arms"]) == ["lstm"]
