"""Every task against its rule, written down once more in plain Python."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.data import tokens
from jaxseq.data.tokens import group_words
from tests.data import hashing

# Options of each task: small, odd where that is possible.
_OPTIONS = {
  "adding": {"length": 21},
  "associative_recall": {"pairs": 5, "keys": 4, "values": 7},
  "binary_addition": {"max_length": 11},
  "bucket_sort": {"max_length": 9},
  "copying": {"blanks": 7, "memorise": 12, "vocab_size": 9},
  "cycle_navigation": {"max_length": 13},
  "delay": {"length": 65, "delay": 11, "bandwidth": 0.5},
  "duplicate_string": {"max_length": 7},
  "even_pairs": {"max_length": 13},
  "group_words": {"group": "S5", "max_length": 11},
  "induction": {"length": 25, "vocab_size": 16},
  "missing_duplicate": {"max_length": 11},
  "modular_arithmetic": {"max_length": 13},
  "mqar": {"length": 20, "pairs": 4, "vocab_size": 64},
  "odds_first": {"max_length": 8},
  "order_recall": {"length": 16, "segment": 2, "questions": 4},
  "parity": {"max_length": 13},
  "programs": {"programs": 300},
  "reverse_string": {"max_length": 8},
  "selective_copying": {"blanks": 20, "memorise": 5, "vocab_size": 9},
  "set_disjointness": {"first": 3, "second": 7, "vocab_size": 32},
  "stack_manipulation": {"max_length": 10},
  "successor": {"max_length": 9},
  "traversal": {"max_nodes": 5},
}
# Enough rows for every length and every branch of a rule to occur.
_ROWS = 256


@functools.cache
def _sampler(sample):
  # Integer rules do not depend on how well the compiler optimises, and half of
  # the time of these tests is its.
  return jax.jit(
    sample,
    static_argnums=(1, 2),
    compiler_options={"xla_backend_optimization_level": 0},
  )


@functools.cache
def _drawn(config, sample, seed):
  # Compiled and sampled once for all tests that look at the same options.
  return jax.device_get(_sampler(sample)(jax.random.key(seed), config, _ROWS))


def _sample(name, seed=0, **options):
  config = tokens.make_config(name, **(_OPTIONS[name] | options))
  return config, _drawn(config, tokens.get(name).sample, seed)


def _strings(config, batch):
  """Yields (string, answer) of each row of a task on strings."""
  blank = config.vocab_size - 1
  for inputs, targets, mask in zip(*batch):
    places = np.flatnonzero(mask)
    length = places[0]
    # The answer lies right behind the string, and blanks follow.
    np.testing.assert_array_equal(
      places, np.arange(length, length + len(places))
    )
    assert np.all(inputs[length:] == blank)
    assert np.all(inputs[:length] < blank)
    yield list(inputs[:length]), list(targets[mask])


def _words(config, batch):
  """Yields (string, class) of each row of a regular language."""
  end = config.vocab_size - 1
  for inputs, targets, mask in zip(*batch):
    (last,) = np.flatnonzero(mask)
    assert np.all(inputs[last + 1 :] == end)
    assert np.all(inputs[: last + 1] < end)
    yield list(inputs[: last + 1]), targets[last]


def test_every_task_has_options_here():
  assert set(_OPTIONS) == set(tokens.TASKS)


@pytest.mark.parametrize("name", sorted(tokens.TASKS))
def test_shapes_and_randomness(name):
  config, first = _sample(name)
  sample = _sampler(tokens.get(name).sample)
  compiled = sample._cache_size()
  again = jax.device_get(sample(jax.random.key(0), config, _ROWS))
  _, other = _sample(name, seed=1)
  assert sample._cache_size() == compiled
  inputs, targets, mask = first
  shape = (_ROWS, config.time)
  assert mask.shape == shape
  assert mask.dtype == np.bool_
  assert mask.any(axis=1).all()
  if config.vocab_size is None:
    assert inputs.shape == (*shape, config.features)
    assert targets.shape == (*shape, 1)
    assert inputs.dtype == targets.dtype == np.float32
  else:
    assert inputs.shape == targets.shape == shape
    assert inputs.dtype == targets.dtype == np.int32
    assert inputs.min() >= 0
    assert targets.min() >= 0
    assert inputs.max() < config.vocab_size
    assert targets.max() < config.num_classes
    assert np.all(targets[~mask] == 0)
  jax.tree.map(np.testing.assert_array_equal, first, again)
  assert not np.array_equal(inputs, other.inputs)
  # Equal options are one compiled program.
  assert hash(config) == hash(dataclasses.replace(config))


@pytest.mark.parametrize(
  "name",
  ["adding", "copying", "delay", "group_words", "induction", "mqar"]
  + ["selective_copying", "set_disjointness"],
)
def test_other_keys_give_other_sequences(name):
  # Tasks with so many sequences that none should come twice.
  _, train = _sample(name)
  _, test = _sample(name, seed=1)
  assert hashing.shared_rows(train.inputs, test.inputs) == 0
  assert len(set(hashing.row_hashes(train.inputs))) == _ROWS


@pytest.mark.parametrize("name", ["copying", "selective_copying"])
def test_copying(name):
  config, batch = _sample(name)
  places = config.blanks + config.memorise
  assert config.time == places + config.memorise
  starts = set()
  for inputs, targets, mask in zip(*batch):
    where = np.flatnonzero(inputs[:places])
    assert len(where) == config.memorise
    copied = inputs[where]
    assert copied.min() >= 1
    assert copied.max() <= config.vocab_size - 2
    assert np.all(inputs[places:] == config.vocab_size - 1)
    np.testing.assert_array_equal(
      np.flatnonzero(mask), np.arange(places, config.time)
    )
    np.testing.assert_array_equal(targets[mask], copied)
    starts.add(tuple(where))
  if name == "copying":
    assert starts == {tuple(range(config.memorise))}
  else:
    assert len(starts) > _ROWS // 2


def test_delay():
  config, (inputs, targets, mask) = _sample("delay")
  assert mask.all()
  shift = config.delay
  np.testing.assert_array_equal(targets[:, :shift], 0)
  np.testing.assert_array_equal(targets[:, shift:], inputs[:, :-shift])
  signal = inputs[..., 0].astype(np.float64)
  # float32 sums of 65 squares.
  np.testing.assert_allclose(
    np.sqrt(np.mean(signal**2, axis=1)), config.rms, rtol=1e-5
  )
  spectrum = np.abs(np.fft.rfft(signal, axis=1))
  top = int(config.bandwidth * (config.length // 2))
  # Rounding of a float32 transform, against peaks of order 1.
  assert np.all(spectrum[:, top + 1 :] < 1e-4)
  assert np.all(spectrum[:, 0] < 1e-4)
  assert np.all(spectrum[:, 1 : top + 1].mean(axis=0) > 1)


def test_adding():
  config, (inputs, targets, mask) = _sample("adding")
  half = config.length // 2
  numbers, marks = inputs[..., 0], inputs[..., 1]
  assert set(np.unique(marks)) == {0, 1}
  assert np.all(marks[:, :half].sum(axis=1) == 1)
  assert np.all(marks[:, half:].sum(axis=1) == 1)
  np.testing.assert_array_equal(mask.sum(axis=1), 1)
  # One float32 addition.
  np.testing.assert_allclose(
    targets[:, -1, 0], (numbers * marks).sum(axis=1), rtol=1e-6
  )
  assert 0 <= numbers.min() < 0.01 < 0.99 < numbers.max() < 1


def test_induction():
  config, batch = _sample("induction")
  special = config.vocab_size - 1
  starts = set()
  for inputs, targets, mask in zip(*batch):
    start, end = np.flatnonzero(inputs == special)
    assert end == config.length - 1
    assert list(np.flatnonzero(mask)) == [end]
    assert targets[end] == inputs[start + 1]
    starts.add(start)
  assert starts == set(range(config.length - 2))


def test_associative_recall():
  config, batch = _sample("associative_recall")
  for inputs, targets, mask in zip(*batch):
    keys, values = inputs[:-2:2], inputs[1:-2:2]
    known = dict(zip(keys, values))
    assert all(known[k] == v for k, v in zip(keys, values))
    assert keys.max() < config.keys <= values.min()
    assert inputs[-2] == config.vocab_size - 1
    assert list(np.flatnonzero(mask)) == [config.time - 1]
    assert targets[-1] == known[inputs[-1]]


@pytest.mark.parametrize("random_others", [True, False])
def test_mqar(random_others):
  config, batch = _sample("mqar", random_others=random_others)
  context, half = 2 * config.pairs, config.vocab_size // 2
  gaps = []
  for inputs, targets, mask in zip(*batch):
    keys, values = inputs[:context:2], inputs[1:context:2]
    assert len(set(keys)) == len(set(values)) == config.pairs
    assert keys.min() >= 1
    assert keys.max() < half <= values.min()
    queries = np.flatnonzero(mask)
    assert queries.min() >= context
    assert np.all(queries % 2 == 0)
    assert sorted(inputs[queries]) == sorted(keys)
    known = dict(zip(keys, values))
    assert [known[inputs[q]] for q in queries] == list(targets[queries])
    others = np.setdiff1d(np.arange(context, config.length), queries)
    assert np.any(inputs[others] != 0) == random_others
    gaps.append((queries - context) // 2)
  # Small gaps come more often.
  counts = np.bincount(np.concatenate(gaps))
  assert counts[0] > 1.5 * counts[-1]


def test_mqar_gaps_follow_their_distribution():
  config, batch = _sample("mqar", pairs=1, power=0.5, length=10)
  weights = np.arange(1, 5) ** -0.5
  counts = np.bincount((np.argmax(batch.mask, axis=1) - 2) // 2, minlength=4)
  # Three standard deviations of a count of 256 draws are at most 24.
  np.testing.assert_allclose(counts, _ROWS * weights / weights.sum(), atol=24)


@pytest.mark.parametrize("swap", [True, False])
def test_set_disjointness(swap):
  config, batch = _sample("set_disjointness", swap=swap)
  sizes = set()
  for inputs, targets, mask in zip(*batch):
    start, middle, end = np.flatnonzero(inputs < 3)
    assert (start, end) == (0, config.time - 1)
    assert list(inputs[[start, middle, end]]) == [0, 1, 2]
    first, second = inputs[1:middle], inputs[middle + 1 : end]
    sizes.add((len(first), len(second)))
    assert len(set(first)) == len(first)
    assert len(set(second)) == len(second)
    (common,) = set(first) & set(second)
    assert list(np.flatnonzero(mask)) == [end]
    assert targets[end] == common
  assert sizes == ({(3, 7), (7, 3)} if swap else {(3, 7)})
  # The common token stands anywhere.
  common = np.argmax(batch.inputs == batch.targets[:, -1:], axis=1)
  assert set(common) == set(range(1, 8 if swap else 4))


def _check_answers(config, pairs, answer, step):
  """Strings of every length have the right answers."""
  lengths = set()
  for string, given in pairs:
    assert given == answer(string)
    lengths.add(len(string))
  assert lengths == set(range(config.min_length, config.max_length + 1, step))


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("parity", lambda w: sum(w) % 2),
    ("even_pairs", lambda w: sum(a != b for a, b in zip(w, w[1:])) % 2),
    ("cycle_navigation", lambda w: (sum(w) - len(w)) % 5),
    (
      "modular_arithmetic",
      lambda w: eval("".join("01234+-*"[t] for t in w)) % 5,
    ),
  ],
)
def test_regular_languages(name, value):
  config, batch = _sample(name)
  assert config.min_length == 1
  step = 2 if name == "modular_arithmetic" else 1
  _check_answers(config, _words(config, batch), value, step)
  _, prefixes = _sample(name, every_step=True)
  for inputs, targets, mask in zip(*prefixes):
    for place in np.flatnonzero(mask):
      assert targets[place] == value(list(inputs[: place + 1]))
  # The same strings, of which more elements count.
  assert prefixes.mask.sum() == sum(
    (len(word) + step - 1) // step for word, _ in _words(config, batch)
  )


def _stack(string):
  stack = [t for t in string if t < 2]
  for action in string[len(stack) :]:
    if action == 2:
      stack = stack[:-1]
    else:
      stack.append(action - 3)
  answer = [*reversed(stack), 2]
  return answer + [0] * (len(string) + 1 - len(answer))


def _add(string):
  plus = string.index(2)
  numbers = (string[:plus], string[plus + 1 :])
  total = sum(b << i for number in numbers for i, b in enumerate(number))
  answer = [int(digit) for digit in reversed(f"{total:b}")] + [2]
  return answer + [0] * (len(string) + 1 - len(answer))


def _missing(string):
  half = len(string) // 2
  hole = string.index(2)
  first, second = string[:half], string[half:]
  assert all(2 in (a, b) or a == b for a, b in zip(first, second))
  return [string[hole - half]] if hole >= half else [string[hole + half]]


@pytest.mark.parametrize(
  ("name", "answer"),
  [
    ("reverse_string", lambda s: s[::-1]),
    ("duplicate_string", lambda s: s + s),
    ("odds_first", lambda s: s[1::2] + s[::2]),
    ("bucket_sort", sorted),
    ("missing_duplicate", _missing),
    ("stack_manipulation", _stack),
    ("binary_addition", _add),
  ],
)
def test_tasks_on_strings(name, answer):
  config, batch = _sample(name)
  step = 2 if name == "missing_duplicate" else 1
  _check_answers(config, _strings(config, batch), answer, step)


def test_group_words():
  config, batch = _sample("group_words")
  table, identity = group_words.group(config.group)
  lengths = set()
  for inputs, targets, mask in zip(*batch):
    length = mask.sum()
    assert np.all(mask[:length])
    assert np.all(inputs[length:] == identity)
    state = identity
    for element, target in zip(inputs[:length], targets):
      state = table[state, element]
      assert target == state
    lengths.add(length)
  assert lengths == set(range(3, config.max_length + 1))
  # 120 elements, about 7 x 256 draws: each has come, with the last ones too.
  assert len(np.unique(batch.inputs)) == 120


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    (
      "copying",
      {"memorise": 0},
      "memorise: got 0, expected an integer of at least",
    ),
    (
      "copying",
      {"blanks": 1.5},
      "blanks: got 1.5, expected an integer of at least",
    ),
    (
      "delay",
      {"delay": 4000},
      "delay: got 4000, expected less than length = 4000",
    ),
    (
      "delay",
      {"bandwidth": 0.0},
      "bandwidth: got 0.0, expected a number above 0",
    ),
    ("delay", {"bandwidth": 1e-5}, "bandwidth: got 1e-05, expected at least"),
    ("delay", {"rms": -1.0}, "rms: got -1.0, expected a finite number above 0"),
    ("group_words", {"group": "M11"}, "group: got 'M11', expected one of '"),
    (
      "group_words",
      {"min_length": 40},
      "max_length: got 30, expected an integer of at least 40",
    ),
    (
      "induction",
      {"length": 2},
      "length: got 2, expected an integer of at least",
    ),
    ("missing_duplicate", {"min_length": 3, "max_length": 3}, "an even length"),
    ("modular_arithmetic", {"min_length": 4, "max_length": 4}, "an odd length"),
    ("mqar", {"length": 15}, "length: got 15, expected an integer of at least"),
    ("mqar", {"length": 33}, "length: got 33, expected even"),
    (
      "mqar",
      {"power": 0.0},
      "power: got 0.0, expected a finite number above 0",
    ),
    (
      "parity",
      {"colour": 1},
      "options of task 'parity': got 'colour', expected one of 'min_",
    ),
    (
      "set_disjointness",
      {"first": 8, "vocab_size": 25},
      "vocab_size: got 25, expected an integer of at least 26",
    ),
    ("chess", {}, "task: got 'chess', expected one of 'adding'"),
  ],
)
def test_bad_options_are_named(name, options, message):
  with pytest.raises(ValueError, match=message):
    tokens.make_config(name, **options)


def test_configurations_need_no_device():
  # Sizes are properties of the options alone: plain integers.
  for name in tokens.TASKS:
    config = tokens.make_config(name)
    for value in (config.time, config.vocab_size, config.num_classes):
      assert value is None or type(value) is int


def test_sample_inside_a_scan():
  config = tokens.make_config("parity", max_length=5)
  sample = tokens.get("parity").sample

  def step(total, key):
    return total + jnp.sum(sample(key, config, 4).mask), None

  keys = jax.random.split(jax.random.key(0), 3)
  total, _ = jax.jit(lambda k: jax.lax.scan(step, 0, k))(keys)
  assert total == 12
