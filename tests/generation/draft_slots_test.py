"""Drafts in an engine's slots change no token, whatever else it does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxseq import generation
from jaxseq import nn
from jaxseq.generation import automaton
from jaxseq.generation import draft_model
from jaxseq.generation import recycling
from jaxseq.generation import tree_passes

VOCAB = 7
LETTERS = [bytes([97 + i]) for i in range(VOCAB)]
SMALL = generation.EngineConfig(slots=3, lines=2, chunk=4, steps=3)
PATTERNS = (None, "[a-d]{3,9}", None, "(ab|[c-g])*a|[a-g]{14}")
# Options in which a token follows from those before it, the key and its number.
SAMPLINGS = {
  "greedy": (
    {"temperature": 0, "frequency_penalty": 0.5},
    {"temperature": 0, "stop": (2, 5)},
  ),
  "drawn": (
    {"temperature": 0.9, "top_k": 4, "stop": 6},
    {"temperature": 0.7, "presence_penalty": 0.8, "repetition_penalty": 1.2},
  ),
}


def _network(*mixers, seed=0, vocab=VOCAB):
  """A network of float64, in which rounding decides nothing."""

  def make(dtype):
    stack = nn.StackConfig(
      mixers[0],
      d_model=8,
      num_layers=len(mixers),
      hybrid={name: {} for name in mixers[1:]},
      dtype=dtype,
    )
    return nn.SequenceNetwork(nn.NetworkConfig(stack), vocab, vocab)

  init = jax.jit(make("float32").init)
  variables = init(jax.random.key(seed), jnp.zeros((1, 1), jnp.int32))

  def scaled(path, leaf):
    # Far from all tokens alike, so that drafts fit sometimes, and not by the
    # last token alone.
    scale = 0.2 if "embedding" in jax.tree_util.keystr(path) else 2
    return scale * np.asarray(leaf, "float64")

  return make("float64"), jax.tree_util.tree_map_with_path(scaled, variables)


def _drafts(kind, network, variables):
  """A draft, and what it remembers at first."""
  if kind == "recycling":
    return recycling.Recycling(recycling.SMALL_TREE, 3, 2), None
  # One that is often right, and often not.
  rng = np.random.default_rng(1)
  own = jax.tree.map(
    lambda leaf: leaf * rng.uniform(0.4, 1.6, leaf.shape), variables
  )
  return draft_model.DraftModel(network, 3), draft_model.Memory(own)


def _requests(samplings, count=10):
  """Ragged prompts, of which some begin alike, of many kinds."""
  rng = np.random.default_rng(3)
  stem = rng.integers(VOCAB, size=9)
  prompts = [
    [*stem[: 9 * (i % 3 > 0)], *rng.integers(VOCAB, size=1 + i % 5)]
    for i in range(count)
  ]
  prompts[7] = prompts[4]
  return [
    generation.Request(
      prompt,
      int(rng.integers(1, 17)),
      sampling=generation.Sampling(**samplings[i % len(samplings)]),
      seed=i,
      count=1 + (i == 2),
      pattern=PATTERNS[i % len(PATTERNS)],
    )
    for i, prompt in enumerate(prompts)
  ]


def _alone(network, variables, request):
  """The tokens of each continuation by `generate`, up to its end."""
  constraint = request.pattern and automaton.compile_pattern(
    request.pattern, tokens=LETTERS
  )
  # Of one size each, as prompts and texts of others are other programs.
  prompt = np.zeros((1, 16), np.int32)
  prompt[0, : len(request.prompt)] = request.prompt
  prefix = generation.read_prefix(
    network, variables, prompt, lengths=[len(request.prompt)]
  )
  tokens, _ = generation.continue_prefix(
    network,
    variables,
    prefix,
    16,
    jax.random.key(0),
    count=request.count,
    seeds=[request.seed],
    sampling=request.sampling,
    constraint=constraint,
  )
  return np.asarray(tokens)[:, 0, : request.length]


def _log_probs(network, variables, prompt, tokens):
  """What the network says of tokens behind a prompt, read at once."""
  text = np.zeros(40, np.int32)
  count = len(prompt)
  text[: count + len(tokens)] = [*prompt, *tokens]
  logits = _apply(network, variables, text)[count - 1 :]
  logs = np.asarray(jax.nn.log_softmax(logits))
  return logs[np.arange(len(tokens)), tokens]


@functools.partial(jax.jit, static_argnums=0)
def _apply(network, variables, text):
  return network.apply(variables, text)[0]


@pytest.mark.parametrize(
  "mixers",
  [
    ("gru",),
    pytest.param(("attention",), marks=pytest.mark.slow),
    pytest.param(("mamba2", "attention"), marks=pytest.mark.slow),
    pytest.param(
      ("gated_deltanet", "attention", "rglru"), marks=pytest.mark.slow
    ),
  ],
  ids="-".join,
)
@pytest.mark.parametrize(
  ("kind", "name"),
  [
    pytest.param("recycling", "greedy", marks=pytest.mark.slow),
    pytest.param("recycling", "drawn", marks=pytest.mark.slow),
    ("network", "greedy"),
  ],
)
def test_rows_are_those_without_drafts(mixers, kind, name):
  """With shared prompts, patterns, ends, and rows in the place of others."""
  network, variables = _network(*mixers)
  with jax.enable_x64():
    draft, memory = _drafts(kind, network, variables)
    cache = generation.PrefixCache(10**7, least=3)
    engine = generation.Engine(
      network,
      variables,
      SMALL,
      cache=cache,
      patterns=generation.PatternConfig(64, LETTERS),
      drafts=draft,
      memory=memory,
    )
    requests = _requests(SAMPLINGS[name])
    # One after the other and all at once: what is kept is of use to both.
    for each in requests[:4]:
      engine.run([each])
    drawn, passes = engine.drawn, engine.passes
    results = engine.run(requests)
    for request, rows in zip(requests, results, strict=True):
      expected = _alone(network, variables, request)
      for row, whole in zip(rows, expected, strict=True):
        length = len(row.tokens)
        np.testing.assert_array_equal(row.tokens, whole[:length])
        logs = _log_probs(network, variables, request.prompt, row.tokens)
        # Sums of float64 in another order.
        np.testing.assert_allclose(row.log_probs, logs, atol=1e-9)
        # What follows an end is the last token.
        assert set(whole[length:]) <= {row.tokens[-1]}
        assert (row.reason == "length") <= (length == request.length)
    # The first token of a row takes no pass, and an accepted guess saves one.
    most = engine.drawn - drawn - sum(map(len, results))
    assert most / draft.tree.paths.shape[1] < engine.passes - passes < most
    assert cache.hits > 6
    again = engine.run(requests[1:2])[0][0]
    np.testing.assert_array_equal(again.tokens, results[1][0].tokens)


def _check_rows(results, expected):
  """Asserts that rows are what each request has alone, up to their ends."""
  for rows, wholes in zip(results, expected, strict=True):
    for row, whole in zip(rows, wholes, strict=True):
      np.testing.assert_array_equal(row.tokens, whole[: len(row.tokens)])


WIDE = generation.EngineConfig(slots=3, lines=2, chunk=16, steps=3)
ROOMY = generation.EngineConfig(slots=1, lines=2, chunk=16, steps=3)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("kind", "config", "room"),
  [
    pytest.param("recycling", SMALL, 0, id="no cache"),
    pytest.param("recycling", SMALL, 4000, id="tiny cache"),
    pytest.param("recycling", ROOMY, 10**7, id="one slot"),
    pytest.param("recycling", WIDE, 4000, id="long chunks, tiny cache"),
    pytest.param("network", ROOMY, 4000, id="network, one slot, tiny cache"),
    pytest.param("network", WIDE, 10**7, id="network, long chunks"),
  ],
)
def test_orders_and_what_is_given_up_change_no_row(kind, config, room):
  network, variables = _network("rwkv7")
  with jax.enable_x64():
    draft, memory = _drafts(kind, network, variables)
    engine = generation.Engine(
      network,
      variables,
      config,
      cache=generation.PrefixCache(room, least=3) if room else None,
      patterns=generation.PatternConfig(64, LETTERS),
      drafts=draft,
      memory=memory,
    )
    requests = _requests(SAMPLINGS["greedy"], 20)
    expected = [_alone(network, variables, each) for each in requests]
    rng = np.random.default_rng(0)
    for turn in range(3):
      order = rng.permutation(len(requests))
      results = engine.run([requests[i] for i in order])
      _check_rows(results, [expected[i] for i in order])
      # Some are in slots, in lines or wait while they are given up.
      asked = [engine.submit(each) for each in requests[: 2 + turn]]
      engine.advance()
      for each in asked:
        engine.cancel(each)


def _stale(commit, network, variables, result, nodes, count, *rest):
  """Goes on with the number of accepted tokens of another slot."""
  count = jnp.roll(count, 1)
  return commit(network, variables, result, nodes, count, *rest)


def _uncommitted(commit, network, variables, result, nodes, count, *rest):
  """Goes on from the last node that was drafted, accepted or not."""
  nodes = jnp.full_like(nodes, result.ids.shape[1] - 1)
  return commit(network, variables, result, nodes, count, *rest)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["recycling", "network"])
def test_rows_tell_of_states_that_are_not_those_accepted(kind, monkeypatch):
  network, variables = _network("gru")
  commit = tree_passes.commit
  requests = [
    generation.Request(each.prompt, 12, sampling=each.sampling, seed=each.seed)
    for each in _requests(SAMPLINGS["greedy"], 20)
  ]
  with jax.enable_x64():
    expected = [_alone(network, variables, each) for each in requests]
    draft, memory = _drafts(kind, network, variables)

    def run(change):
      if change is not None:
        changed = functools.partial(change, commit)
        monkeypatch.setattr(tree_passes, "commit", changed)
      # A type of its own, whose programs are compiled and are no others'.
      own = type("Own", (type(draft),), {})(**vars(draft))
      engine = generation.Engine(
        network, variables, SMALL, drafts=own, memory=memory
      )
      _check_rows(engine.run(requests), expected)

    run(None)
    for change in (_stale, _uncommitted):
      with pytest.raises(AssertionError, match="Arrays are not equal"):
        run(change)


@pytest.mark.slow
def test_texts_have_the_distribution_of_sampling_without_drafts():
  """All texts of a small network's drafts, against their probabilities."""
  network, variables = _network("gru", vocab=4)
  draft, memory = _drafts("network", network, variables)
  sampling = generation.Sampling(temperature=4.0)
  count, length = 2048, 4
  config = generation.EngineConfig(slots=256, lines=256, chunk=2, steps=2)
  with jax.enable_x64():
    engine = generation.Engine(
      network, variables, config, drafts=draft, memory=memory
    )
    results = engine.run(
      generation.Request([1, 2], length, sampling=sampling, seed=i)
      for i in range(count)
    )
    texts = np.array(list(np.ndindex(*(4,) * length)))
    prompts = np.tile([1, 2], (len(texts), 1))
    tokens = jnp.asarray(np.hstack([prompts, texts]))
    logits = _apply(network, variables, tokens)[:, 1:-1]
    logs = np.asarray(jax.nn.log_softmax(logits / 4))
  logs = np.take_along_axis(logs, texts[..., None], axis=-1)
  expected = count * np.exp(np.sum(logs, axis=(1, 2)))
  drawn = np.array([row.tokens for (row,) in results])
  numbers = np.ravel_multi_index(drawn.T, (4,) * length)
  observed = np.bincount(numbers, minlength=len(texts))
  # Drafts were accepted, and others were not.
  most = count * (length - 1)
  assert 0.36 * most < engine.passes < 0.9 * most
  # Rare texts count together.
  rare = expected < 5
  observed, expected = (
    np.append(x[~rare], np.sum(x[rare])) for x in (observed, expected)
  )
  assert len(expected) > 50
  difference = np.sum((observed - expected) ** 2 / expected)
  assert difference < stats.chi2.ppf(0.999, len(expected) - 1)


def test_bad_drafts():
  network, variables = _network("gru")
  with pytest.raises(ValueError, match="drafts: got 'int', expected a draft: "):
    generation.Engine(network, variables, SMALL, drafts=3)
  with pytest.raises(ValueError, match="memory: got 'int', expected None: no"):
    generation.Engine(network, variables, SMALL, memory=3)
  draft, _ = _drafts("network", network, variables)
  with pytest.raises(ValueError, match="memory: got 'NoneType', expected draf"):
    generation.Engine(network, variables, SMALL, drafts=draft)
