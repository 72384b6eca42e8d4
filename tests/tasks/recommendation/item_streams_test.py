"""States of users: equal to whole histories, and constant in memory."""

import resource

import jax
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.tasks.recommendation import item_streams
from jaxseq.tasks.recommendation import network as item_network

# float32, with sums in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
RNG = np.random.default_rng(0)
HISTORIES = [RNG.integers(1, 13, n).astype(np.int32) for n in (1, 5, 3, 9, 2)]
GAPS = [RNG.uniform(0.5, 3, len(one)).astype(np.float32) for one in HISTORIES]
NAMES = list("abcde")


def network_of(mixer="gru", items=12, length=50, **options):
  stack = nn.StackConfig(mixer, d_model=8, num_layers=1)
  network = item_network.ItemNetwork(
    nn.NetworkConfig(stack), items, length, **options
  )
  first = np.ones((1, 2), np.int32)
  gaps = {"gaps": np.ones((1, 2), np.float32)} if network.gaps else {}
  variables = network.init(
    jax.random.key(1), first, np.array([2], np.int32), **gaps
  )
  return network, variables


def offline(network, variables, histories, gaps=None):
  """Logits after each history, alone."""
  return np.concatenate(
    [
      network.apply(
        variables,
        history[None],
        np.array([len(history)], np.int32),
        last=True,
        **({} if gaps is None else {"gaps": gaps[n][None]}),
      )
      for n, history in enumerate(histories)
    ]
  )


def test_a_few_users_need_one_program():
  users = item_streams.Users(*network_of())
  sizes = item_streams._advance._cache_size, item_streams._best._cache_size
  programs = []
  for event in range(15):
    users.update(event % 6, 1 + event % 7)
    users.recommend([event % 6])
    programs.append([size() for size in sizes])
  assert programs[0] == programs[-1]
  assert len(users) == 6


@pytest.mark.parametrize(
  "mixer",
  [
    "gru",
    *(pytest.param(x, marks=pytest.mark.slow) for x in ("attention", "s5")),
  ],
)
def test_events_one_by_one_are_the_whole(mixer, monkeypatch):
  monkeypatch.setattr(item_streams, "_USERS", 1)
  with_gaps = mixer == "s5"
  network, variables = network_of(mixer, gaps=with_gaps)
  gaps = GAPS if with_gaps else None
  logits = offline(network, variables, HISTORIES, gaps)
  wanted = np.asarray(jax.nn.log_softmax(logits))

  def check(items, scores):
    np.testing.assert_allclose(
      scores, np.take_along_axis(wanted, items, 1), **CLOSE
    )
    np.testing.assert_allclose(scores, -np.sort(-wanted), **CLOSE)

  # In three arrays, the first of which has three users.
  monkeypatch.setattr(item_streams, "_ELEMENTS", 10)
  features = item_streams.features_of(network, variables, HISTORIES, gaps)
  none = [()] * 5
  check(*item_streams.best(network, variables, features, none, 12))
  users = item_streams.Users(network, variables)
  before = [one[:-2] for one in HISTORIES[1:4]]
  earlier = None if gaps is None else [one[:-2] for one in gaps[1:4]]
  users.fill(NAMES[1:4], before, earlier)
  for n, (name, history) in enumerate(zip(NAMES, HISTORIES)):
    count = len(before[n - 1]) if 1 <= n < 4 else 0
    for place in range(count, len(history)):
      gap = None if gaps is None else gaps[n][place]
      users.update(name, int(history[place]), gap)
  check(*users.recommend(NAMES, 12, repeats=True))
  assert users.seen("d") == set(HISTORIES[3].tolist())


LONG = [RNG.integers(1, 13, n).astype(np.int32) for n in (3, 5, 6, 23, 30)]
LONG_GAPS = [RNG.uniform(0.5, 3, len(one)).astype(np.float32) for one in LONG]
NETWORKS = {
  "gru": ("gru", {}),
  "attention": ("attention", {}),
  "gaps": ("s5", {"gaps": True}),
  "cosines": ("gru", {"temperature": 0.1}),
  "texts": ("gru", {"text_mixer": "gru"}),
  "ease": ("gru", {"linear": True}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_lists_are_by_the_newest_items_as_scores_are(name):
  """Also of histories that are longer than what training reads."""
  mixer, options = NETWORKS[name]
  network, variables = network_of(mixer, length=5, **options)
  if "text_mixer" in options:
    tokens = RNG.integers(1, 40, (13, 4)).astype(np.int32)
    variables = {**variables, item_network.ITEMS: {"tokens": tokens}}
  if network.linear:
    matrix = RNG.normal(size=(13, 12)).astype(np.float32)
    matrix[0] = 0
    known = {"linear": matrix, "decay": np.float32(0.9)}
    weights = {**variables["params"]["scores"], "gain": np.float32(0.5)}
    variables = {
      "params": {**variables["params"], "scores": weights},
      item_network.ITEMS: {"scores": known},
    }
  gaps = LONG_GAPS if network.gaps else None
  lengths = np.array(list(map(len, LONG)), np.int32)
  padded = [np.zeros((5, 30), np.int32), np.zeros((5, 30), np.float32)]
  for rows, one in zip(padded, (LONG, LONG_GAPS)):
    for row, values in zip(rows, one):
      row[: len(values)] = values
  read = jax.jit(network.apply, static_argnames="last")
  options = {"gaps": padded[1]} if network.gaps else {}
  logits = read(variables, padded[0], lengths, last=True, **options)
  wanted = np.asarray(jax.nn.log_softmax(logits))

  def check(items, scores):
    np.testing.assert_allclose(
      scores, np.take_along_axis(wanted, items, 1), rtol=1e-5, atol=1e-5
    )

  frozen = network.freeze(variables)
  features = item_streams.features_of(*frozen, LONG, gaps)
  check(*item_streams.best(*frozen, features, [()] * 5, 12))
  # Some are filled whole, some in part, and some come event by event.
  users = item_streams.Users(network, variables)
  known = [0, 2, 6, 20, 30]
  filled = range(1, 5)
  earlier = None if gaps is None else [gaps[n][: known[n]] for n in filled]
  users.fill(NAMES[1:], [LONG[n][: known[n]] for n in filled], earlier)
  users.recommend(NAMES[1:], 12, True)
  for n, name in enumerate(NAMES):
    for place in range(known[n], lengths[n]):
      gap = None if gaps is None else gaps[n][place]
      users.update(name, int(LONG[n][place]), gap)
      # A list between two events does not change later ones.
      users.recommend([name], 12, True)
  check(*users.recommend(NAMES, 12, True))
  # What was taken is the whole history all the same.
  assert users.seen("e") == set(LONG[4].tolist())


def test_gaps_are_asked_for_with_every_item():
  network, variables = network_of("s5", length=1, gaps=True)
  users = item_streams.Users(network, variables)
  users.update("a", 3, 1.0)
  for _ in range(2):
    with pytest.raises(ValueError, match="gap: got None, expected that of the"):
      users.update("a", 3)
  assert users.seen("a") == {3}


def test_what_is_taken_or_not_allowed_is_left_out():
  network, variables = network_of()
  users = item_streams.Users(network, variables)
  users.fill(NAMES, HISTORIES)
  allowed = range(6)
  items, scores = users.recommend(NAMES, 20, allowed=allowed)
  assert items.shape == (5, 12)
  for row, score, history in zip(items, scores, HISTORIES):
    shown = row[np.isfinite(score)]
    assert set(shown + 1) == set(range(1, 7)) - set(history.tolist())
  # A user is where they are asked for.
  alone, _ = users.recommend(["c"], 3)
  np.testing.assert_array_equal(alone[0], users.recommend(NAMES, 3)[0][2])


def test_who_or_what_is_not_there_is_named():
  network, variables = network_of()
  users = item_streams.Users(network, variables)
  users.update("a", 3)
  assert "a" in users
  assert len(users) == 1
  with pytest.raises(ValueError, match="users: got 'b', expected one that has"):
    users.recommend(["b"])
  for names in (["a"], ["c", "c"]):
    message = f"users: got '{names[0]}', expected new ones, each once"
    with pytest.raises(ValueError, match=message):
      users.fill(names, [np.array([1])] * len(names))
  with pytest.raises(ValueError, match="item: got 13, expected"):
    users.update("a", 13)


@pytest.mark.slow
def test_a_million_items_fit_into_memory():
  """Training looks at a sample; users are scored a few at a time."""
  items, width = 1_000_000, 8
  network, variables = network_of(items=items)
  users = item_streams.Users(network, variables)
  for n in range(40):
    users.update(n, 1 + n * 20_011 % items)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  best, scores = users.recommend(range(40), 10)
  assert best.shape == (40, 10)
  assert np.isfinite(scores).all()

  def loss(variables):
    history = np.arange(1, 101, dtype=np.int32).reshape(2, 50)
    lengths = np.array([50, 50], np.int32)
    arrays = history, lengths, history, np.ones((2, 256), np.int32)
    positive, negative = network.apply(variables, *arrays, method="compare")
    return negative.mean() - positive.mean()

  grad = jax.jit(jax.grad(loss))(variables)
  assert np.isfinite(grad["params"]["network"]["embed"]["embedding"]).all()
  grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
  # Scores of 16 users are 64 MB, a gradient is 32 MB; all users at all of 50
  # places would be 8 GB.
  assert grown < 800 * 1024, f"{grown / 1024:.0f} MiB"
  assert width == network.config.stack.d_model
