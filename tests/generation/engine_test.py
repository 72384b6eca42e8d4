import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn
from jaxseq.generation import _slots
from jaxseq.generation import recycling
from jaxseq.generation import scoring
from tests.generation import networks

SMALL = generation.EngineConfig(slots=3, lines=2, chunk=4, steps=5)


def _requests(count, seed=0, longest=18):
  """Ragged prompts with many kinds of options."""
  rng = np.random.default_rng(seed)
  kinds = [
    {},
    {"temperature": 0},
    {"top_k": 3, "stop": 2},
    {"top_p": 0.8, "repetition_penalty": 1.3, "presence_penalty": 0.5},
    {"temperature": 0.7, "min_p": 0.1, "stop": (0, 1), "min_length": 4},
  ]
  return [
    generation.Request(
      rng.integers(networks.VOCAB, size=rng.integers(1, longest)),
      int(rng.integers(1, 14)),
      sampling=generation.Sampling(**kinds[i % len(kinds)]),
      seed=int(rng.integers(100)),
    )
    for i in range(count)
  ]


def _check_as_alone(network, variables, requests, results):
  """Compares rows with those of whole batches."""
  # Of one size mostly, as requests of others are another program.
  lengths = [len(request.prompt) for request in requests]
  prompts = np.zeros((len(requests), max(20, *lengths)), np.int32)
  for row, request in zip(prompts, requests):
    row[: len(request.prompt)] = request.prompt
  tokens, _ = generation.generate(
    network,
    variables,
    prompts,
    max(14, *(request.length for request in requests)),
    jax.random.key(0),
    lengths=lengths,
    seeds=[request.seed for request in requests],
    sampling=[request.sampling for request in requests],
  )
  for request, rows, whole in zip(requests, results, np.asarray(tokens)):
    result = rows[0]
    whole = whole[: request.length]
    stops = np.flatnonzero(np.isin(whole, request.sampling.stop))
    expected = whole[: stops[0] + 1] if len(stops) else whole
    np.testing.assert_array_equal(result.tokens, expected)
    assert result.reason == ("stop" if len(stops) else "length")


@pytest.mark.parametrize(
  "mixers",
  [
    ("gru",),
    pytest.param(("mamba2", "attention"), marks=pytest.mark.slow),
    pytest.param(("gated_deltanet", "rglru"), marks=pytest.mark.slow),
    pytest.param(("latent_attention", "mlstm"), marks=pytest.mark.slow),
  ],
  ids="-".join,
)
def test_rows_are_those_of_whole_batches(mixers):
  network, variables = networks.make(*mixers)
  engine = generation.Engine(network, variables, SMALL)
  requests = _requests(17)
  results = engine.run(requests)
  assert not engine.busy
  _check_as_alone(network, variables, requests, results)
  # The engine goes on with what comes later, by the same program.
  later = _requests(17, seed=1)
  _check_as_alone(network, variables, later, engine.run(later))
  assert engine.read == sum(len(each.prompt) for each in requests + later)


def test_log_probabilities_are_the_network_s():
  network, variables = networks.make("gru")
  engine = generation.Engine(network, variables, SMALL)
  requests = [
    generation.Request(
      [1, 2, 3], 6, sampling=generation.Sampling(temperature=0.5, top_k=2)
    )
  ]
  result = engine.run(requests)[0][0]
  logits, _ = jax.jit(network.apply)(
    variables, np.concatenate([[1, 2, 3], result.tokens])
  )
  logs = jax.nn.log_softmax(logits)[2:-1]
  # One float32 rounding a step.
  np.testing.assert_allclose(
    result.log_probs, logs[np.arange(6), result.tokens], atol=1e-5
  )


@pytest.mark.slow
def test_continuations_share_a_prompt():
  network, variables = networks.make("gru")
  engine = generation.Engine(network, variables, SMALL)
  requests = [
    generation.Request(np.arange(6), 8, seed=3, count=5),
    generation.Request(np.arange(2), 8, seed=4),
  ]
  many, one = engine.run(requests)
  assert engine.read == 8
  prefix = generation.read_prefix(network, variables, np.arange(6)[None])
  tokens, _ = generation.continue_prefix(
    network, variables, prefix, 8, jax.random.key(0), count=5, seeds=[3]
  )
  np.testing.assert_array_equal([row.tokens for row in many], tokens[:, 0])
  alone, _ = generation.generate(
    network, variables, np.arange(2), 8, jax.random.key(0), seeds=4
  )
  np.testing.assert_array_equal(one[0].tokens, alone)


def test_what_is_given_up_makes_room():
  network, variables = networks.make("gru")
  engine = generation.Engine(network, variables, SMALL)
  endless = generation.Request([1, 2], 10**6, count=2)
  numbers = [engine.submit(endless) for _ in range(4)]
  for _ in range(4):
    engine.advance()
  assert (engine.running, engine.waiting) == (3, 5)
  engine.cancel(numbers[0], 0)
  engine.cancel(numbers[3])
  for number in numbers[:3]:
    events = engine.advance()
    assert any(event.request == number for event in events)
    engine.cancel(number)
  assert not engine.busy
  last = [generation.Request([3], 5, seed=1)]
  _check_as_alone(network, variables, last, engine.run(last))


def test_a_cache_changes_no_row():
  network, variables = networks.make("gru")
  cache = generation.PrefixCache(10**6, least=3)
  engine = generation.Engine(network, variables, SMALL, cache=cache)
  rng = np.random.default_rng(0)
  stem = rng.integers(networks.VOCAB, size=9)
  requests = [
    generation.Request([*stem, *end], 6, seed=i)
    for i, end in enumerate([[], [1], [2, 3], [], [3] * 6, [1], [4] * 4])
  ]
  results = [engine.run([request])[0] for request in requests]
  _check_as_alone(network, variables, requests, results)
  # The stem is read once, and each end once.
  assert engine.read == 9 + 1 + 2 + 6 + 4
  assert cache.hits == 6
  # A whole prompt that comes again gives the same bits.
  again = engine.run([requests[4]])[0][0]
  np.testing.assert_array_equal(again.log_probs, results[4][0].log_probs)


def test_a_stem_that_comes_twice_is_kept():
  network, variables = networks.make("gru")
  cache = generation.PrefixCache(10**6, least=3)
  engine = generation.Engine(network, variables, SMALL, cache=cache)
  stem = np.arange(10) % networks.VOCAB
  requests = [
    generation.Request([*stem, *end], 6, seed=i)
    for i, end in enumerate([[1, 2], [3, 3, 3, 3, 3], [4]])
  ]
  results = [engine.run([request])[0] for request in requests]
  _check_as_alone(network, variables, requests, results)
  assert engine.read == 12 + 15 + 1


@pytest.mark.slow
def test_an_ended_row_asks_for_nothing_any_more(monkeypatch):
  """Neither a sort of the vocabulary nor noise, which cost every later step."""
  network, variables = networks.make("gru")
  sorts, noise = [], []
  sort, gumbel = jnp.sort, jax.random.gumbel

  def counted(calls, function):
    def call(*arguments, **options):
      jax.debug.callback(lambda: calls.append(1))
      return function(*arguments, **options)

    return call

  monkeypatch.setattr(jnp, "sort", counted(sorts, sort))
  monkeypatch.setattr(jax.random, "gumbel", counted(noise, gumbel))
  # Sizes of no other test, so that the program is traced here.
  config = generation.EngineConfig(slots=5, lines=2, chunk=3, steps=4)
  engine = generation.Engine(network, variables, config)
  greedy = generation.Sampling(temperature=0)
  short = generation.Sampling(top_p=0.9, repetition_penalty=1.2)
  engine.submit(generation.Request([1], 40, sampling=greedy))
  ends = engine.submit(generation.Request([2], 2, sampling=short))
  events = []
  while not any(event.request == ends and event.reason for event in events):
    events += engine.advance()
  assert engine.running == 1
  jax.effects_barrier()
  assert sorts
  assert noise
  sorts.clear()
  noise.clear()
  while engine.busy:
    engine.advance()
  jax.effects_barrier()
  assert not sorts
  assert not noise


@pytest.mark.slow
def test_a_long_window_is_kept_as_far_as_it_was_read():
  stack = nn.StackConfig("attention", {"window": 512}, d_model=8, num_layers=1)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 7, vocab_size=7)
  tokens = jnp.zeros((1, 1), jnp.int32)
  variables = jax.jit(network.init)(jax.random.key(0), tokens)
  # The window alone is 32 kB.
  cache = generation.PrefixCache(10**4, least=3)
  engine = generation.Engine(network, variables, SMALL, cache=cache)
  requests = [
    generation.Request(np.arange(count) % 7, 6, seed=count)
    for count in (6, 9, 6)
  ]
  results = [engine.run([request])[0] for request in requests]
  _check_as_alone(network, variables, requests, results)
  assert (cache.hits, cache.refused, engine.read) == (2, 0, 9)
  assert cache.nbytes < 3000


def test_a_warm_up_leaves_nothing():
  network, variables = networks.make("gru")
  cache = generation.PrefixCache(10**6)
  engine = generation.Engine(network, variables, SMALL, cache=cache)
  engine.warm_up()
  assert (engine.drawn, engine.read, len(cache), cache.misses) == (0, 0, 0, 0)
  assert not engine.busy
  assert engine.cache is cache
  engine.run([generation.Request([0, 1], 2)])
  assert (cache.hits, cache.misses) == (0, 1)


@pytest.mark.parametrize("cached", [False, True])
def test_a_warm_up_compiles_all(cached):
  network, variables = networks.make("gru")
  # Sizes of no other test.
  config = generation.EngineConfig(slots=3, lines=1, chunk=6, steps=2)
  cache = generation.PrefixCache(10**6, least=3) if cached else None
  engine = generation.Engine(network, variables, config, cache=cache)
  engine.warm_up()
  programs = (
    *(_slots.advance, _slots.place, _slots.line, _slots.put_line),
    *(_slots.read_on, scoring._read),
  )
  sizes = [each._cache_size() for each in programs]
  biased = generation.Sampling(logit_bias={3: 2.0})
  stem = [1, 2, 3, 4]
  scored = generation.Request(stem, 1, top_log_probs=4)
  engine.run(
    [
      *(scored, generation.Request([*stem, 5, 6], 3, count=3)),
      generation.Request([*stem, *[6] * 20], 4, sampling=biased),
      generation.Request([*stem, *[5] * 20], 4),
    ]
  )
  engine.score([engine.prepare(scored)] * 2)
  assert [each._cache_size() for each in programs] == sizes


def test_an_array_may_hold_one_prompt_after_the_other():
  network, variables = networks.make("gru")
  engine = generation.Engine(network, variables, SMALL)
  prompt, numbers = np.zeros(3, np.int32), []
  for token in range(networks.VOCAB):
    prompt[:] = token
    numbers.append(engine.submit(generation.Request(prompt, 4, seed=1)))
  events = []
  while engine.busy:
    events += engine.advance()
  for token, number in enumerate(numbers):
    own = [event for event in events if event.request == number]
    ((want,),) = engine.run([generation.Request([token] * 3, 4, seed=1)])
    np.testing.assert_array_equal(
      generation.requests.join(own).tokens, want.tokens
    )


def test_prompts_may_hold_tokens_that_are_never_drawn():
  network, variables = networks.make("gru", num_outputs=5)
  cache = generation.PrefixCache(2**20)
  engine = generation.Engine(network, variables, SMALL, cache=cache)
  sampling = generation.Sampling(repetition_penalty=1.5)
  request = generation.Request([6, 1, 5], 4, sampling=sampling, count=2)
  (rows,) = engine.run([request])
  prefix = generation.read_prefix(network, variables, [[6, 1, 5]])
  wanted, _ = generation.continue_prefix(
    network, variables, prefix, 4, jax.random.key(0), count=2, sampling=sampling
  )
  np.testing.assert_array_equal([row.tokens for row in rows], wanted[:, 0])


@pytest.mark.parametrize(
  ("arguments", "options", "message"),
  [
    (([], 5), {}, r"prompt: got shape \(0,\), expected \(time,\)"),
    (([0.5], 5), {}, "prompt: got dtype float64, expected integer tokens"),
    (([1], 0), {}, "length: got 0, expected an integer of at least 1"),
    (([1], 2**31), {}, "length: got 2147483648, expected an integer of at mos"),
    (([1], 5), {"count": 0}, "count: got 0, expected an integer of at least"),
    (([1], 5), {"seed": 0.5}, "seed: got 0.5, expected an integer"),
    (([7], 5), {}, "prompt: got 7, expected tokens from 0 to 6"),
    (
      ([1], 5),
      {"sampling": generation.Sampling(top_k=9)},
      "top_k: got 9, expected an integer from 1 to 7",
    ),
  ],
)
def test_bad_requests(arguments, options, message):
  network, variables = networks.make("gru")
  engine = generation.Engine(network, variables, SMALL)
  with pytest.raises(ValueError, match=message):
    engine.submit(generation.Request(*arguments, **options))
  assert not engine.busy


@pytest.mark.parametrize("drafts", [False, True])
def test_extras_of_some_rows_change_no_other(drafts):
  """The most probable tokens, and biases, in a program of their own."""
  network, variables = networks.make("gru", vocab_size=9)
  options = {}
  if drafts:
    options["drafts"] = recycling.Recycling(recycling.SMALL_TREE)
  config = generation.EngineConfig(slots=3, lines=2, chunk=4, steps=4)
  engine = generation.Engine(network, variables, config, **options)
  biased = generation.Sampling(logit_bias={5: -100.0, 6: 2.0})
  requests = [
    generation.Request([1, 2], 8, seed=4, top_log_probs=3),
    generation.Request([1, 2], 8, seed=4),
    generation.Request([1, 2], 8, seed=5, sampling=biased),
  ]
  results = [rows[0] for rows in engine.run(requests)]
  plain = generation.Engine(network, variables, config, **options)
  (alone,) = plain.run([requests[1]])[0]
  for row in results[:2]:
    np.testing.assert_array_equal(row.tokens, alone.tokens)
    np.testing.assert_allclose(row.log_probs, alone.log_probs, rtol=1e-5)
  assert results[1].tops is None
  sequence = np.array([1, 2, *alone.tokens[:-1]])[None]
  logits, _ = network.apply(variables, sequence)
  logs = np.asarray(jax.nn.log_softmax(logits[0, 1:]))
  best = np.argsort(-logs, axis=-1)[:, :3]
  np.testing.assert_array_equal(results[0].tops.tokens, best)
  expected = np.take_along_axis(logs, best, axis=-1)
  np.testing.assert_allclose(results[0].tops.log_probs, expected, atol=1e-5)
  tokens, _ = generation.generate(
    network,
    variables,
    np.array([1, 2]),
    8,
    jax.random.key(0),
    seeds=5,
    sampling=biased,
  )
  assert 5 not in np.asarray(tokens)
  if not drafts:
    np.testing.assert_array_equal(results[2].tokens, tokens)
  assert 5 not in results[2].tokens


def test_extras_are_compiled_only_where_they_are_asked_for():
  network, variables = networks.make("gru")
  engine = generation.Engine(network, variables, SMALL)
  engine.submit(generation.Request([1], 3))
  engine._fill()
  assert engine._work().extras is None
