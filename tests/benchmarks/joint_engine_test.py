"""The benchmark of drafts and a cache compares the same texts."""

import argparse

import numpy as np
import pytest

from benchmarks import joint_engine
from tests.models import cases

FLAGS = argparse.Namespace(stems=2, stem=40, ends=3, end=5, length=6)


def _asked(temperature):
  text = np.random.default_rng(0).integers(97, 123, size=300)
  return joint_engine.requests(text, FLAGS, temperature)


def test_prompts_share_beginnings():
  asked = _asked(0.7)
  assert len(asked) == 6
  beginnings = {tuple(each.prompt[:40]) for each in asked}
  assert len(beginnings) == 2
  assert len({tuple(each.prompt) for each in asked}) == 6


@pytest.mark.slow
def test_all_ways_give_the_same_texts():
  model = cases.case("language").model
  rows = joint_engine.compare(model, _asked(0.7), 1, 1)
  assert list(rows) == ["none", "drafts", "cache", "both"]
  for name, numbers in rows.items():
    assert numbers["differ"] == 0
    assert numbers["rate"] > 0
    cached = name in ("cache", "both")
    assert (numbers["hits"] > 0) == cached
    assert (numbers["read"] < 1) == cached
    if name in ("none", "cache"):
      assert numbers["tokens"] == 1
