"""Drafts give what the network alone gives, for every mixer and hybrids."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import mixers
from jaxseq import nn
from jaxseq.generation import automaton
from jaxseq.generation import draft_model
from jaxseq.generation import recycling
from jaxseq.generation import speculative
from jaxseq.generation import tree_passes
from jaxseq.recurrence.trees import tree

VOCAB = 7
DRAFT = recycling.Recycling(
  tree.from_ranks([(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]), 2
)
QUICK = ("gru",)
_SCHEMES = ("nodes", "paths", "levels")
# What a stack does with states beside those of its mixers.
_STACKS = {
  "hybrid": {
    "mixer": "mamba2",
    "hybrid": {"attention": {}, "gru": {}},
    "num_layers": 3,
  },
  "scanned": {"mixer": "gated_deltanet", "scan_layers": True},
  "channel_mix": {
    "mixer": "rwkv7",
    "feedforward": "channel_mix",
    "norm": "layer",
  },
  "parallel": {
    "mixer": "attention",
    "parallel": {"mamba2": {}},
    "feedforward": "swiglu",
  },
}


def _cases():
  for name in mixers.names():
    quick = name in QUICK
    yield pytest.param(
      {"mixer": name}, id=name, marks=() if quick else pytest.mark.slow
    )
  for name, options in _STACKS.items():
    yield pytest.param(options, id=name, marks=pytest.mark.slow)


def _network(mixer="gru", dtype="float64", vocab=VOCAB, seed=0, **options):
  """A network of that dtype and its variables."""
  options = {"d_model": 8, "num_layers": 2, **options}

  def make(dtype):
    config = nn.NetworkConfig(nn.StackConfig(mixer, dtype=dtype, **options))
    return nn.SequenceNetwork(config, num_outputs=vocab, vocab_size=vocab)

  init = jax.jit(make("float32").init)
  variables = init(jax.random.key(seed), jnp.zeros((1, 1), jnp.int32))
  variables = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), variables)
  return make(dtype), variables


@functools.cache
def _plain():
  return _network(dtype="float32")


def _near(got, expected, atol=1e-9):
  """Compares states; float64 sums in another order over 20 steps."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=atol),
    got,
    expected,
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  "temperature", [pytest.param(0.0, marks=pytest.mark.slow), 0.6]
)
@pytest.mark.parametrize("options", list(_cases()))
def test_all_schemes_are_plain_generation(options, temperature):
  network, variables = _network(**options)
  prompt = [[1, 2, 3, 1, 2], [4, 5]]
  key = jax.random.key(3)
  with jax.enable_x64():
    arguments = network, variables, prompt, 16, key
    tokens, states = generation.generate(*arguments, temperature=temperature)
    for scheme in _SCHEMES:
      found = speculative.generate(
        *arguments, draft=DRAFT, scheme=scheme, temperature=temperature
      )
      np.testing.assert_array_equal(found.tokens, tokens)
      _near(found.states, states)
      # A node that is accepted saves a pass.
      assert np.all(found.passes < 16)


@pytest.mark.slow
@pytest.mark.parametrize(
  "scheme",
  ["nodes", *(pytest.param(x, marks=pytest.mark.slow) for x in _SCHEMES[1:])],
)
def test_a_tree_without_branches_is_a_sequence(scheme):
  """Logits of all nodes, and states after any number of them."""
  layers = ({"mixer": "mamba2"}, {"mixer": "attention"})
  network, variables = _network("mamba2", layers=layers)
  made = tree.chain(4)
  nodes = jnp.broadcast_to(jnp.arange(4), (3, 4))
  tokens = np.array(
    [[1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 2, 2], [6, 4, 2, 0, 1, 3]]
  )
  with jax.enable_x64():
    apply = jax.jit(network.apply)
    _, before = apply(variables, tokens[:, :2])

    @jax.jit
    def read(ids, states, count):
      arguments = network, variables
      found = tree_passes.read(*arguments, ids, states, made, scheme)
      after = tree_passes.commit(*arguments, found, nodes, count, made, scheme)
      return found.logits, after

    logits, after = read(tokens[:, 2:], before, jnp.array([4, 0, 2]))
    expected, whole = apply(variables, tokens[:, 2:], before)
    _, part = apply(variables, tokens[:, 2:4], before)
  _near(logits, expected)
  for row, states in enumerate((whole, before, part)):
    _near(*(jax.tree.map(lambda x, r=row: x[r], s) for s in (after, states)))


@pytest.mark.slow
def test_batches_states_and_ends():
  network, variables = _network()
  key = jax.random.key(5)
  prompt = np.array([[[1, 2], [3, 4], [5, 6]], [[1, 1], [0, 0], [2, 4]]])
  with jax.enable_x64():
    run = functools.partial(
      speculative.generate, network, variables, draft=DRAFT, scheme="levels"
    )
    plain = functools.partial(generation.generate, network, variables)
    options = {"temperature": 0.8, "top_k": 5, "top_p": 0.9, "stop": 3}
    tokens, _ = plain(prompt, 12, key, **options)
    found = run(prompt, 12, key, **options)
    np.testing.assert_array_equal(found.tokens, tokens)
    assert np.any(tokens == 3)
    assert found.passes.shape == (2, 3)
    # One prompt without axes of a batch, in two calls.
    row = prompt[1, 2]
    whole = run(row, 11, key, temperature=0)
    first = run(row, 4, key, temperature=0)
    rest = run(
      first.tokens[-1:],
      7,
      key,
      temperature=0,
      states=first.states,
      memory=first.memory,
    )
    np.testing.assert_array_equal(
      np.concatenate([first.tokens, rest.tokens]), whole.tokens
    )
    _near(rest.states, whole.states)
    # The last token of a row is the first of its prompt.
    reset = np.array([[True, False], [False, True], [False, False]])
    tokens, states = plain(prompt[0], 5, key, reset=reset, temperature=0)
    found = run(prompt[0], 5, key, reset=reset, temperature=0)
    np.testing.assert_array_equal(found.tokens, tokens)
    _near(found.states, states)


@pytest.mark.slow
def test_options_of_rows():
  network, variables = _network()
  sampling = [
    generation.token_sampling.Sampling(temperature=0.0),
    generation.token_sampling.Sampling(temperature=1.0, min_length=3, stop=2),
  ]
  arguments = network, variables, [[1, 2], [3, 4]], 9, jax.random.key(0)
  with jax.enable_x64():
    tokens, _ = generation.generate(*arguments, sampling=sampling)
    for scheme in ("levels", "paths"):
      found = speculative.generate(
        *arguments, draft=DRAFT, sampling=sampling, scheme=scheme
      )
      np.testing.assert_array_equal(found.tokens, tokens)


def _shares(draft, memory, runs, **options):
  """Shares of all texts of three tokens of 4 in independent draws."""
  network, variables = _network(dtype="float32", vocab=4)
  # More than the logits of an untrained network, so that drafts fit sometimes.
  variables = jax.tree.map(lambda leaf: 2 * np.asarray(leaf), variables)
  prompt = np.broadcast_to([2, 1], (runs, 2))
  found = speculative.generate(
    network,
    variables,
    prompt,
    3,
    jax.random.key(11),
    draft=draft,
    memory=memory,
    scheme="levels",
    **options,
  )
  texts = np.stack(np.meshgrid(*[range(4)] * 3, indexing="ij"), -1)
  texts = texts.reshape(-1, 3)
  rows = np.concatenate([np.broadcast_to([2, 1], (64, 2)), texts], 1)[:, :-1]
  logits, _ = network.apply(variables, jnp.asarray(rows))
  return found, logits[:, 1:], texts


def _chi_square(tokens, logits, texts, temperature):
  """Pearson's statistic of counts of texts, whose logits are given."""
  logs = jax.nn.log_softmax(logits / temperature)
  logs = np.take_along_axis(np.asarray(logs), texts[..., None], -1)
  expected = len(tokens) * np.exp(logs.sum((1, 2)))
  counts = np.bincount(tokens @ [16, 4, 1], minlength=64)
  return np.sum((counts - expected) ** 2 / expected)


# The statistic of 63 degrees of freedom is above this once in 10,000 times.
_CHI_SQUARE_63 = 114.8


@pytest.mark.slow
def test_drawn_texts_have_the_networks_distribution():
  draft = recycling.Recycling(DRAFT.tree, 2)
  memory = np.array([[1, 2], [2, 3], [3, 0], [0, 1]], np.int16)
  found, logits, texts = _shares(draft, memory, 20_000, temperature=0.9)
  assert np.mean(found.passes) < 2.9  # Of 3 tokens; so drafts were accepted.
  tokens = np.asarray(found.tokens)
  assert _chi_square(tokens, logits, texts, 0.9) < _CHI_SQUARE_63
  # The test sees a difference of a tenth in the temperature.
  assert _chi_square(tokens, logits, texts, 1.0) > _CHI_SQUARE_63


@pytest.mark.slow
def test_a_draft_network_leaves_the_distribution():
  small, own = _network("elman", dtype="float32", vocab=4, num_layers=1, seed=8)
  draft = draft_model.DraftModel(small, 2)
  memory = draft_model.Memory(own)
  found, logits, texts = _shares(draft, memory, 20_000, temperature=0.9)
  assert 1.1 < np.mean(found.passes) < 2.9
  tokens = np.asarray(found.tokens)
  assert _chi_square(tokens, logits, texts, 0.9) < _CHI_SQUARE_63
  assert _chi_square(tokens, logits, texts, 1.0) > _CHI_SQUARE_63


@pytest.mark.slow
def test_a_draft_network_rolls_back():
  network, variables = _network("gru")
  key = jax.random.key(0)
  prompt = [[1, 2, 3, 1, 2], [4, 5]]
  small, own = _network("lru", num_layers=1, seed=4)
  with jax.enable_x64():
    run = functools.partial(
      speculative.generate, network, variables, prompt, 13, key
    )
    tokens, states = generation.generate(
      network, variables, prompt, 13, key, temperature=0
    )
    found = run(
      draft=draft_model.DraftModel(small, 3),
      memory=draft_model.Memory(own),
      temperature=0,
      scheme="levels",
    )
    np.testing.assert_array_equal(found.tokens, tokens)
    _near(found.states, states)
    # The small network's states are those after the same tokens.
    for row, line in enumerate(prompt):
      read = jnp.asarray([[*line, *np.asarray(tokens)[row, :-1]]])
      _, after = small.apply(own, read)
      _near(
        jax.tree.map(lambda leaf, row=row: leaf[row], found.memory.states),
        jax.tree.map(lambda leaf: leaf[0], after),
      )
    # One that is right always is never corrected: 4 tokens in a pass.
    draft = draft_model.DraftModel(network, 3)
    for temperature in (0, 1):
      found = run(
        draft=draft,
        memory=draft_model.Memory(variables),
        temperature=temperature,
        scheme="levels",
      )
      np.testing.assert_array_equal(found.passes, [4, 4])


# Six states, of which three may be the last; and texts of three or four tokens.
_ENDLESS = automaton.from_table(
  [[4, 3, 2, 0, 1, -1, -1], [-1, 0, 4, 3, 5, 2, 3], [5, 4, 3, 2, 2, 5, 0]]
  + [[4, 3, -1, 1, 5, 2, -1], [4, 4, 4, 0, -1, 5, -1], [2, -1, 1, 2, 1, 1, 4]],
  [True, False, False, False, True, True],
)
_FINITE = automaton.from_table(
  [[1, 1, -1, 1, -1, 1, -1], [2, -1, 2, 2, -1, 2, 2]]
  + [[3, 3, 3, -1, -1, -1, 4], [4] * 7, [-1] * 7],
  [False, False, False, True, True],
)


@pytest.mark.slow
@pytest.mark.parametrize(
  "options",
  [
    pytest.param(
      {"temperature": 0, "constraint": _FINITE}, marks=pytest.mark.slow
    ),
    {
      "temperature": 0.7,
      "constraint": _ENDLESS,
      "repetition_penalty": 1.4,
      "presence_penalty": 0.5,
      "frequency_penalty": 0.3,
    },
    pytest.param(
      {"temperature": 0.7, "constraint": _ENDLESS}, marks=pytest.mark.slow
    ),
    pytest.param(
      {"temperature": 0, "frequency_penalty": 2.0}, marks=pytest.mark.slow
    ),
  ],
)
def test_penalties_and_constraints_are_those_of_plain_generation(options):
  network, variables = _network()
  arguments = network, variables, [[1, 2, 3, 1, 2], [4, 5]], 16
  with jax.enable_x64():
    key = jax.random.key(3)
    tokens, states = generation.generate(*arguments, key, **options)
    found = speculative.generate(
      *arguments, key, draft=DRAFT, scheme="levels", **options
    )
    np.testing.assert_array_equal(found.tokens, tokens)
    if options.get("constraint") is not _FINITE:
      _near(found.states, states)
    else:
      # Plain generation goes on behind the end, with the last token.
      assert np.all(np.asarray(tokens)[:, 4:] == np.asarray(tokens)[:, 3:4])
      assert np.all(found.passes <= 4)


@pytest.mark.slow
def test_drafting_networks_keep_to_constraints():
  network, variables = _network()
  small, own = _network(d_model=4, seed=1)
  with jax.enable_x64():
    for options in (
      {"constraint": _ENDLESS, "presence_penalty": 0.5},
      {"constraint": _FINITE},
    ):
      arguments = network, variables, [[1, 2, 3], [4]], 12, jax.random.key(3)
      tokens, _ = generation.generate(*arguments, temperature=0, **options)
      found = speculative.generate(
        *arguments,
        draft=draft_model.DraftModel(small, 3),
        memory=draft_model.Memory(own),
        temperature=0,
        scheme="levels",
        **options,
      )
      np.testing.assert_array_equal(found.tokens, tokens)


@pytest.mark.slow
def test_float32_differs_at_ties_alone():
  network, variables = _network("gru", dtype="float32", vocab=64)
  arguments = network, variables, [[1, 2, 3]], 40, jax.random.key(0)
  tokens, _ = generation.generate(*arguments, temperature=0)
  found = speculative.generate(*arguments, temperature=0, scheme="nodes")
  wrong = np.flatnonzero(np.asarray(found.tokens != tokens)[0])
  if wrong.size:
    rows = np.concatenate([[1, 2, 3], np.asarray(tokens)[0]])
    logits, _ = network.apply(variables, jnp.asarray(rows)[None])
    best = np.sort(np.asarray(logits)[0, 2 + wrong[0]])
    assert best[-1] - best[-2] < 1e-4
  assert found.passes[0] < 40


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"scheme": "rows"}, "scheme: got 'rows', expected one of"),
    (
      {"draft": draft_model.DraftModel(None)},
      "memory: got 'NoneType', expected draft_model.Memory(variables)",
    ),
    ({"length": 0}, "length: got 0, expected"),
    ({"draft": recycling.Recycling()}, "vocab: got 7, expected"),
    ({"seeds": [1, 2]}, "seeds: got shape (2,)"),
  ],
)
def test_refusals(options, message):
  network, variables = _plain()
  options = {"length": 3, "draft": DRAFT, **options}
  with pytest.raises(ValueError) as caught:
    speculative.generate(
      network, variables, [[1, 2]], key=jax.random.key(0), **options
    )
  assert message in str(caught.value)


def test_refusals_of_networks_that_do_not_fit():
  small, own = _network(dtype="float32", vocab=5)
  with pytest.raises(ValueError, match="vocab_size of the draft's network"):
    draft_model.DraftModel(small).begin(draft_model.Memory(own), VOCAB)
  with pytest.raises(ValueError, match="scheme: got 'nodes', expected"):
    tree_passes.choose_scheme(object(), "nodes")
  assert tree_passes.choose_scheme(object(), "auto") == "levels"
