"""Masked language and pairs: the arms of both objectives."""

import types

from configs.masked_language import rna
from jaxseq.programs import hidden_letters
from jaxseq.training import configuration


def test_pairs_have_no_trees_to_draw():
  config = configuration.updated(
    rna.get_config("tiny"), objective="pairs", pair_width=4, pair_channels=4
  )
  work = hidden_letters.work(config, types.SimpleNamespace(mode="train"))
  assert list(work.arms) == ["gru"]
