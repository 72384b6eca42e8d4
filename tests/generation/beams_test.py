import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn
from jaxseq.generation import automaton

GOLDEN = ("groups2x3_end", "groups3x2", "groups4x1_end")


@dataclasses.dataclass(frozen=True)
class _Tanh:
  """h' = tanh(emb[token] W + h U + b), logits h' out; a state (*batch, 8)."""

  def step(self, p, token, h):
    h = jnp.tanh(p["emb"][token] @ p["W"] + h @ p["U"] + p["b"])
    return h @ p["out"], h

  def apply(self, p, tokens, h=None, method=None, reset=None):
    assert reset is None
    if method == "step":
      return self.step(p, tokens, h)
    h = jnp.zeros((*tokens.shape[:-1], 8), p["b"].dtype) if h is None else h
    logits = []
    for time in range(tokens.shape[-1]):
      one, h = self.step(p, tokens[..., time], h)
      logits.append(one)
    return jnp.stack(logits, axis=-2), h


def _golden_model(arrays):
  params = {
    k.removeprefix("param/"): jnp.asarray(v)
    for k, v in arrays.items()
    if k.startswith("param/")
  }
  end = int(arrays["end_token"])
  options = {"beams": int(arrays["beams"])}
  options["end_token"] = None if end < 0 else end
  prompt = jnp.asarray(arrays["prompt"], jnp.int32)
  return params, prompt, int(arrays["length"]), options


@pytest.mark.parametrize(
  "name",
  [GOLDEN[0], *(pytest.param(x, marks=pytest.mark.slow) for x in GOLDEN[1:])],
)
def test_diverse_beams_are_the_golden_ones(golden, name):
  with jax.enable_x64(True):
    arrays = golden(f"diverse_beam/{name}")
    params, prompt, length, options = _golden_model(arrays)
    # Two prompts beside each other, of which one is the golden one.
    prompts = jnp.stack([prompt, prompt[::-1]])
    for kind in ("paper", "carry"):
      found = generation.beam_search(
        _Tanh(),
        params,
        prompts,
        length,
        groups=int(arrays["groups"]),
        strength=float(arrays["strength"]),
        carry_penalty=kind == "carry",
        **options,
      )
      np.testing.assert_array_equal(found.tokens[0], arrays[f"{kind}_tokens"])
      for ours, theirs in [
        (found.log_prob, "log_prob"),
        (found.selection, "selection"),
        (found.states, "state"),
      ]:
        np.testing.assert_allclose(
          ours[0], arrays[f"{kind}_{theirs}"], rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("name", GOLDEN)
def test_one_group_is_beam_search(golden, name):
  with jax.enable_x64(True):
    arrays = golden(f"diverse_beam/{name}")
    params, prompt, length, options = _golden_model(arrays)
    # Of no other group, whose choices would cost something.
    found = generation.beam_search(
      _Tanh(), params, prompt, length, strength=0.7, **options
    )
    np.testing.assert_array_equal(found.tokens[0], arrays["beam_tokens"])
    np.testing.assert_allclose(
      found.log_prob[0], arrays["beam_log_prob"], rtol=1e-10
    )


def _random_model(vocab, seed=0):
  rng = np.random.default_rng(seed)
  shapes = {"emb": (vocab, 4), "W": (4, 8), "U": (8, 8), "b": (8,)}
  shapes["out"] = (8, vocab)
  return {k: jnp.asarray(rng.normal(size=v)) for k, v in shapes.items()}


def _all_sequences(params, prompt, length, end):
  """Log probability and length of every sequence, ended ones filled up."""
  params = jax.tree.map(np.asarray, params)
  found = {}

  def logs(h):
    logits = h @ params["out"]
    return logits - np.log(np.sum(np.exp(logits)))

  def read(h, token):
    x = params["emb"][token] @ params["W"]
    return np.tanh(x + h @ params["U"] + params["b"])

  def grow(tokens, h, total):
    if len(tokens) == length or (tokens and tokens[-1] == end):
      filled = (*tokens, *(end,) * (length - len(tokens)))
      found[filled] = total, len(tokens)
      return
    for token, log in enumerate(logs(h)):
      grow((*tokens, token), read(h, token), total + log)

  grow((), functools.reduce(read, prompt, np.zeros(8)), 0.0)
  return found


@pytest.mark.parametrize(("end", "penalty"), [(None, 0.0), (1, 0.0), (1, 0.7)])
def test_as_many_beams_as_sequences_find_the_best(end, penalty):
  with jax.enable_x64(True):
    params, prompt = _random_model(3), [2, 0]
    expected = _all_sequences(params, prompt, 3, end)
    found = generation.beam_search(
      _Tanh(),
      params,
      jnp.asarray(prompt),
      3,
      beams=30,
      end_token=end,
      length_penalty=penalty,
    )
    by_score = sorted(
      expected, key=lambda t: -expected[t][0] / expected[t][1] ** penalty
    )
    count = len(expected)
    got = [tuple(row) for row in np.asarray(found.tokens[0])]
    assert got[:count] == by_score
    np.testing.assert_allclose(
      found.log_prob[0, :count], [expected[t][0] for t in by_score], rtol=1e-10
    )
    # There is no other sequence for the beams that are left.
    assert np.all(np.asarray(found.log_prob[0, count:]) == -np.inf)
    best = generation.ranked(found, length_penalty=penalty)
    np.testing.assert_array_equal(best.tokens, found.tokens[0])


def test_without_penalty_groups_are_alike_and_with_a_huge_one_apart():
  params, prompt = _random_model(5), jnp.asarray([[1, 3], [4, 4]])
  options = {"beams": 4, "groups": 2}
  same = generation.beam_search(_Tanh(), params, prompt, 6, **options)
  np.testing.assert_array_equal(same.tokens[:, 0], same.tokens[:, 1])
  plain = generation.beam_search(_Tanh(), params, prompt, 6, beams=2)
  np.testing.assert_array_equal(same.tokens[:, 0], plain.tokens[:, 0])
  options = {"beams": 4, "groups": 4, "strength": 1e6}
  apart = generation.beam_search(_Tanh(), params, prompt, 6, **options)
  for row in np.moveaxis(np.asarray(apart.tokens), 1, -1).reshape(-1, 4):
    assert len(set(row)) == 4
  found = generation.ranked(apart)
  assert found.tokens.shape == (2, 4, 6)
  # States went with their beams.
  logs = np.asarray(apart.log_prob).reshape(2, 4)
  order = np.argsort(-logs, axis=-1, kind="stable")
  np.testing.assert_array_equal(
    found.log_prob, np.take_along_axis(logs, order, axis=-1)
  )
  states = np.asarray(apart.states).reshape(2, 4, 8)
  np.testing.assert_array_equal(
    found.states, np.take_along_axis(states, order[..., None], axis=1)
  )


def test_equal_scores_go_to_the_earlier_beam_and_the_lower_token():
  params = jax.tree.map(jnp.zeros_like, _random_model(4))
  found = generation.beam_search(_Tanh(), params, jnp.asarray([0]), 2, beams=6)
  expected = [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1]]
  np.testing.assert_array_equal(found.tokens[0], expected)


def _check_states(mixer, prompts, reset=None, **options):
  """Beams' scores and states are those of their whole texts."""
  if isinstance(mixer, tuple):
    options["layers"] = tuple({"mixer": each} for each in mixer)
    mixer = mixer[0]
  stack = nn.StackConfig(mixer, d_model=8, num_layers=2, **options)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 7, 7)
  variables = jax.jit(network.init)(jax.random.key(0), prompts)
  # Logits further from each other, so that beams cross.
  variables = jax.tree.map(lambda x: 2 * np.asarray(x), variables)
  found = generation.beam_search(
    network,
    variables,
    prompts,
    5,
    beams=6,
    groups=2,
    strength=0.3,
    reset=reset,
  )
  tokens = np.asarray(found.tokens).reshape(len(prompts) * 6, 5)
  texts = np.concatenate([np.repeat(prompts, 6, axis=0), tokens], axis=1)
  if reset is not None:
    reset = np.pad(np.repeat(reset, 6, axis=0), [(0, 0), (0, 5)])
  logits, states = jax.jit(network.apply)(variables, texts, None, reset)
  logs = np.asarray(jax.nn.log_softmax(logits[:, -6:-1]))
  logs = np.take_along_axis(logs, tokens[..., None], axis=-1)
  # Five float32 sums, of terms up to ten.
  np.testing.assert_allclose(
    np.ravel(found.log_prob), logs.sum((1, 2)), rtol=1e-4, atol=1e-4
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      np.reshape(a, b.shape), b, rtol=1e-3, atol=1e-4
    ),
    found.states,
    states,
  )


@pytest.mark.slow
def test_caches_and_recurrent_states_go_with_their_beams():
  rows = jnp.asarray([[0, 5, 2], [6, 1, 3]])
  reset = np.asarray([[0, 1, 0], [1, 0, 0]], bool)
  _check_states(("gru", "attention"), rows, reset)


@pytest.mark.slow
@pytest.mark.parametrize("mixer", ["mamba2", "gated_deltanet", "s5", "lstm"])
def test_states_go_with_their_beams(mixer):
  _check_states(mixer, jnp.asarray([[0, 5, 2], [6, 1, 3]]))


@pytest.mark.slow
def test_states_of_scanned_layers_go_with_their_beams():
  _check_states("gru", jnp.asarray([[0, 5], [6, 1]]), scan_layers=True)


def test_a_prefix_is_searched_without_reading_it_again():
  params, prompt = _random_model(5), jnp.asarray([[1, 3], [4, 4]])
  prefix = generation.read_prefix(_Tanh(), params, prompt)
  options = {"length": 4, "beams": 3}
  jax.tree.map(
    np.testing.assert_array_equal,
    generation.beam_search(_Tanh(), params, prefix, **options),
    generation.beam_search(_Tanh(), params, prompt, **options),
  )
  reset = jnp.zeros((2, 2), bool)
  with pytest.raises(
    ValueError, match="states, lengths and reset: got 'values'"
  ):
    generation.beam_search(_Tanh(), params, prefix, reset=reset, **options)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"beams": 5, "groups": 2}, "beams: got 5, expected a multiple of groups"),
    ({"beams": 0}, "beams: got 0, expected an integer of at least 1"),
    ({"beams": 2, "strength": -1.0}, "strength: got -1.0, expected"),
    ({"beams": 2, "length": 0}, "length: got 0, expected"),
    ({"beams": 2, "end_token": 5}, "end_token: got 5, expected"),
    (
      {"beams": 2, "constraint": automaton.compile_pattern("a")},
      r"shape \(256,\) of bool from `allowed`, expected \(5,\)",
    ),
    (
      {"beams": 2, "constraint": object()},
      "expected a constraint, as of automaton.compile_pattern",
    ),
  ],
)
def test_bad_options(options, message):
  options = {"length": 3, **options}
  prompt = jnp.asarray([1, 3])
  with pytest.raises(ValueError, match=message):
    generation.beam_search(_Tanh(), _random_model(5), prompt, **options)
