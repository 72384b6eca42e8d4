"""Data sets of the Long Range Arena by name, with their messages."""

import pytest

import experiments.lra  # noqa: F401
from jaxseq import data


def test_sets_of_files_need_their_place():
  with pytest.raises(
    ValueError, match="'cifar': got no path, expected the place of its files"
  ):
    data.load("cifar")
  with pytest.raises(data.MissingData, match="data_batch_1.bin is not a file"):
    data.load("cifar", path="nowhere")


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("listops", {"depth": 3}, "'listops': got 'depth', expected one of 'size'"),
    ("listops", {"size": "big"}, "size: got 'big', expected one of 'small'"),
    ("listops", {"valid": 0}, "valid: got 0, expected an integer of at least"),
    ("pathfinder", {"size": 16}, "size: got 16, expected one of 32, 64, 128"),
  ],
)
def test_wrong_options_are_named(name, options, message):
  with pytest.raises(ValueError, match=message):
    data.load(name, **options)


@pytest.mark.parametrize(
  "name", ["lra_listops", "lra_pathfinder", "lra_retrieval", "lra_text"]
)
def test_every_set_of_files_has_a_loader(name):
  assert "Returns:" in data.loader(name).__doc__
