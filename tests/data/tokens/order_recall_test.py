"""Order recall: markers, bins, balance, and one reading for many questions."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.synthetic import task as synthetic
from jaxseq import nn
from jaxseq.data import tokens
from jaxseq.data.tokens import order_recall


def test_golden_markers_and_bins(golden):
  data = golden("sort/excerpts")
  words = data["words"].tolist()
  marker = data["marker"]
  assert [order_recall.ends_sentence(word) for word in words] == marker.tolist()
  length, segment = int(data["excerpt_length"]), int(data["segment_length"])
  bounds = order_recall.bins(length, segment)
  np.testing.assert_array_equal(bounds, data["bins"])
  begins, starts = order_recall.excerpt_starts(words, length, segment)
  np.testing.assert_array_equal(begins[1:], marker[:-1])
  # What the original found in an excerpt is there by these rules.
  for start, pairs in zip(
    data["excerpt_start"], np.moveaxis(data["positions"], 1, 0)
  ):
    assert start in starts
    near = np.sort(pairs, axis=1)
    distance = near[:, 1] - near[:, 0]
    assert (distance > bounds[:-1]).all()
    assert (distance <= bounds[1:]).all()
    assert begins[start + near].all()
    assert near.max() + segment <= length


def test_excerpts_of_a_text_begin_where_each_bin_has_a_pair():
  rng = np.random.default_rng(0)
  words = [f"w{x}" + "." * int(x % 7 == 0) for x in rng.integers(0, 90, 400)]
  length, segment = 60, 5
  begins, starts = order_recall.excerpt_starts(words, length, segment)
  bounds = order_recall.bins(length, segment)
  expected = []
  for start in np.flatnonzero(begins):
    inside = np.flatnonzero(begins[start : start + length - segment + 1])
    distance = (inside - inside[:, None]).ravel()
    some = [
      ((distance > a) & (distance <= b)).any()
      for a, b in zip(bounds, bounds[1:])
    ]
    if start + length <= len(words) and all(some):
      expected.append(start)
  assert starts.tolist() == expected
  assert 0 < len(expected) < begins.sum()


def located(row, config):
  """Returns where the segments of a question stand in its excerpt."""
  size = config.segment
  excerpt, rest = row[: config.length], row[config.length :]
  assert rest[0] == rest[size + 1] == config.vocab_size - 1
  windows = np.lib.stride_tricks.sliding_window_view(excerpt, size)
  shown = rest[1 : size + 1], rest[size + 2 :]
  return [np.flatnonzero((windows == each).all(axis=1)) for each in shown]


def check(config, rows):
  sample = jax.jit(tokens.get("order_recall").sample, static_argnums=(1, 2))
  batch = jax.device_get(sample(jax.random.key(0), config, rows))
  answers = batch.targets[:, -1]
  assert answers.sum() == rows // 2
  assert batch.mask.sum() == batch.mask[:, -1].sum() == rows
  bounds = order_recall.bins(config.length, config.segment)
  counts = np.zeros(4, int)
  for row, answer in zip(batch.inputs, answers):
    first, second = located(row, config)
    if len(first) == len(second) == 1:
      assert answer == int(first[0] > second[0])
      distance = abs(first[0] - second[0])
      counts[np.searchsorted(bounds, distance) - 1] += 1
  return batch, counts


def test_questions_obey_the_rules():
  config = tokens.make_config("order_recall", questions=8, vocab_size=512)
  batch, counts = check(config, 64)
  # All segments of 4 in 512 tokens are found once.
  assert counts.sum() == 64
  assert (counts > 4).all()
  excerpts = batch.inputs[:, : config.length].reshape(8, 8, -1)
  assert (excerpts == excerpts[:, :1]).all()
  assert (excerpts[0] != excerpts[1]).any()
  _, counts = check(
    tokens.make_config("order_recall", bin=2, vocab_size=512), 16
  )
  assert counts.tolist() == [0, 0, 16, 0]


def test_shorter_excerpts_of_other_tokens():
  config = tokens.make_config(
    "order_recall",
    length=24,
    segment=2,
    vocab_size=32,
    begins=True,
    shortest=4,
    distinct=True,
  )
  sample = tokens.get("order_recall").sample
  batch = jax.device_get(sample(jax.random.key(0), config, 32))
  assert batch.inputs.shape == (32, 1 + 24 + 6)
  assert (batch.inputs[:, [0, 25, 28]] == 31).all()
  assert batch.targets[:, -1].sum() == 16
  sizes = []
  for row, answer in zip(batch.inputs, batch.targets[:, -1]):
    excerpt = row[1:25]
    sizes.append(int((excerpt < 31).sum()))
    assert len(set(excerpt[: sizes[-1]]) - {31}) == sizes[-1]
    windows = np.lib.stride_tricks.sliding_window_view(excerpt, 2)
    (one,), (two,) = (
      np.flatnonzero((windows == x).all(axis=1)) for x in (row[26:28], row[29:])
    )
    assert answer == int(one > two)
    assert abs(one - two) >= 2
    if sizes[-1] >= 12:
      bounds = order_recall.bins(sizes[-1], 2)
      assert bounds[0] < abs(one - two) <= bounds[-1]
  assert 4 <= min(sizes) < 8
  assert 16 < max(sizes) <= 24


def test_tokens_do_not_depend_on_the_length_of_the_excerpt():
  config = order_recall.Config(
    length=16, segment=1, vocab_size=33, shortest=2, distinct=True
  )
  draw = jax.jit(
    jax.vmap(lambda key: order_recall._draw_excerpt(key, config)[0])
  )
  excerpts = np.asarray(draw(jax.random.split(jax.random.key(0), 8192)))
  counts = np.bincount(excerpts.ravel(), minlength=33)[:-1]
  # Five standard deviations of a count, which is near to Poisson's.
  assert abs(counts - counts.mean()).max() < 5 * counts.mean() ** 0.5


@pytest.mark.slow
def test_questions_on_a_text(tmp_path):
  rng = np.random.default_rng(0)
  words = [f"w{x}" + "." * int(x % 5 == 0) for x in rng.integers(0, 90, 3000)]
  path = tmp_path / "text.txt"
  path.write_text(" ".join(words))
  options = {"text": str(path), "length": 60, "segment": 5, "vocab_size": 99}
  for part in ("train", "test"):
    config = tokens.make_config("order_recall", part=part, **options)
    batch, counts = check(config, 16)
    assert counts.sum() > 8
    # Segments and excerpts begin with sentences: behind a multiple of five.
    again = sorted(sorted(set(words)), key=lambda w: -words.count(w))
    ends = {i + 1 for i, word in enumerate(again) if word.endswith(".")}
    for row in batch.inputs:
      for places in located(row, config):
        assert any(p == 0 or row[p - 1] in ends for p in places)
  with pytest.raises(ValueError, match="length"):
    check(tokens.make_config("order_recall", **options | {"length": 2990}), 2)


def test_one_reading_of_an_excerpt_serves_all_its_questions():
  options = {"length": 16, "segment": 2, "questions": 4, "vocab_size": 9}
  config = tokens.make_config("order_recall", **options)
  arm = synthetic.ArmConfig(
    nn.NetworkConfig(nn.StackConfig("gru", d_model=8, num_layers=1))
  )
  network = nn.SequenceNetwork(arm.network, 2, 9)
  sample = jax.jit(tokens.get("order_recall").sample, static_argnums=(1, 2))
  batch = sample(jax.random.key(1), config, 6)
  variables = jax.jit(network.init)(jax.random.key(0), batch.inputs[:1])
  alone = dataclasses.replace(config, questions=1)

  @jax.jit
  def both(variables):
    return [
      network.apply(
        variables, batch.inputs, **synthetic._keywords(arm, each, batch)
      )[0]
      for each in (config, alone)
    ]

  once, every = both(variables)
  assert once.shape == (6, 1, 2)
  np.testing.assert_allclose(once, every, atol=2e-6)


@pytest.mark.parametrize(
  "options",
  [
    *({"bin": 4}, {"length": 11}, {"segment": 16}, {"questions": 0}),
    *({"shortest": 7}, {"shortest": 65}),
    {"length": 64, "distinct": True, "vocab_size": 64},
  ],
)
def test_wrong_options_are_named(options):
  name = "length" if "segment" in options else next(iter(options))
  with pytest.raises(ValueError, match=name):
    tokens.make_config("order_recall", **options)
