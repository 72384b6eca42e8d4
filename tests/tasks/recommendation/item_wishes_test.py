"""Wishes in words: what is drawn, where they stand, and whether they steer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.recommend import quickstart
from jaxseq import data
from jaxseq.tasks import recommendation
from jaxseq.tasks.recommendation import item_wishes
from jaxseq.tasks.recommendation import semantic_network
from jaxseq.training import configuration
from jaxseq.training.comparison import run

TEXTS = [
  {"title": "Heat", "genres": "Crime Drama"},
  {"title": "Ran", "genres": "War"},
  {"title": "Untitled"},
]


def test_wishes_are_words_of_the_target_or_none():
  has = item_wishes.members(TEXTS, "genres")
  assert {word: x.tolist() for word, x in has.items()} == {
    "Crime": [True, False, False],
    "Drama": [True, False, False],
    "War": [False, True, False],
  }
  with pytest.raises(ValueError, match="wish: got 'mood', expected an attribu"):
    item_wishes.members(TEXTS, "mood")
  known = item_wishes.tables(has)
  assert known["wished"].tolist() == [0, 2, 1, 0]
  target = jnp.asarray([1, 2, 3] * 20)
  drawn = item_wishes.draw(
    jax.tree.map(jnp.asarray, known), target, jax.random.key(0)
  )
  told = {
    item: {tuple(words) for words in drawn[target == item].tolist()}
    for item in (1, 2, 3)
  }

  def words(*wishes):
    return {tuple(item_wishes.tokens(wish).tolist()) for wish in wishes}

  assert told[1] == words("", "wants crime", "wants Drama")
  assert told[2] == words("", "wants war")
  assert told[3] == words("")


def test_all_common_words_are_wished_in_turn():
  has = {
    "rare": np.arange(12) < 9,
    "odd": np.ones(12, bool),
    "low": np.arange(12) < 10,
  }
  words, wanted = item_wishes.asked(has, 3)
  np.testing.assert_array_equal(wanted, [has["odd"], has["low"], has["odd"]])
  np.testing.assert_array_equal(words[0], item_wishes.tokens("wants odd"))
  with pytest.raises(ValueError, match="wish: got .*none that is common"):
    item_wishes.asked({"rare": has["rare"]}, 3)


def test_words_stand_between_a_history_and_its_next_item():
  tokens = jnp.arange(1, 13).reshape(2, 6)
  words = jnp.asarray([[91, 92], [93, 94]])
  made = semantic_network._with_words(tokens, words, jnp.asarray([[4], [2]]))
  assert made.tolist() == [
    [1, 2, 3, 4, 91, 92, 5, 6],
    [7, 8, 93, 94, 9, 10, 11, 12],
  ]


def test_what_is_refused():
  options = {"users": 12, "items": 45, "events": 6}
  config = quickstart.get_config("tiny_wishes")
  for changes, message in (
    ({"wish": "genre"}, "wish: got 'genre', .* one of name, follows, kind"),
    ({"items": "text"}, "wish: got 'kind', expected None, or with items="),
  ):
    arms = {"gru": {**config.arms["gru"], **changes}}
    changed = configuration.updated(config, arms=arms)
    splits = data.load("item_chains", **options, texts=True)
    with pytest.raises(ValueError, match=message):
      recommendation.TASK.arms(changed, splits)


@pytest.mark.slow
def test_a_wish_steers_what_is_listed(tmp_path):
  config = configuration.updated(
    quickstart.get_config("wishes"),
    num_updates=400,
    chunks_per_evaluation=100,
    num_seeds=1,
    data_options={"users": 150, "items": 44, "events": 6, "follow": 0.0},
    network={"stack": {"d_model": 32, "dropout": 0.0}},
  )
  work = recommendation.TASK.work(config)
  results = run.train(config, tmp_path, work.arms)
  (steered,), (unsteered,) = (
    results["gru"][name] for name in ("steered", "unsteered")
  )
  # A quarter of the items is of each kind, and of all lists, one for each kind.
  assert unsteered == pytest.approx(0.25, abs=0.03)
  # Of three seeds .73 to .83.
  assert steered > 0.6
