"""Latent attention against an explicit softmax over each episode, in float64.

With numbers of the transformers library in tests/interop.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.keys_and_values import latent_attention
from tests.mixers.keys_and_values import attention_test

rms, turn = attention_test.rms, attention_test.turn

OPTIONS = (
  {},
  {
    "heads": 3,
    "d_key": 3,
    "d_rotary": 4,
    "d_value": 5,
    "d_latent": 7,
    "query_rank": 3,
    "bias": True,
    "window": 3,
    "rotary_base": 100.0,
    "eps": 0.1,
  },
  {"heads": 2, "positions": "none", "d_value": 2, "window": 20},
  {"heads": 2, "d_rotary": 0},
)


def episode(config, params, x):
  """One episode from a fresh state, with keys and values of every head."""
  time, eps = len(x), config.eps

  def project(name, x):
    return x @ params[f"W_{name}"] + params.get(f"W_{name}_bias", 0.0)

  q = project("q", x)
  if config.query_rank:
    q = (rms(q, eps) * params["q_norm"]) @ params["W_q2"]
  q = q.reshape(time, config.heads, -1)
  c, p = np.split(project("kv", x), [config.latent_width], axis=-1)
  kv = (rms(c, eps) * params["kv_norm"]) @ params["W_kv2"]
  k, v = np.split(
    kv.reshape(time, config.heads, -1), [config.key_width], axis=-1
  )
  p = np.broadcast_to(p[:, None], (time, config.heads, p.shape[-1]))
  k = np.concatenate([k, p], axis=-1)
  if config.positions == "rotary" and config.rotary_width:
    for z in (q, k):
      turned = z[..., config.key_width :]
      turned[:] = turn(turned, 3.0 + np.arange(time), config.rotary_base)
  out = np.zeros_like(v)
  for t in range(time):
    seen = slice(max(0, t - config.window), t + 1)
    for head in range(config.heads):
      scores = k[seen, head] @ q[t, head] / np.sqrt(q.shape[-1])
      weights = np.exp(scores - scores.max())
      out[t, head] = weights @ v[seen, head] / weights.sum()
  return project("o", out.reshape(time, -1))


def problem(options, time=12):
  config = latent_attention.Config(8, **options)
  rng = np.random.default_rng(0)
  params = {
    # Ones and zeros would hide mistakes.
    name: np.asarray(w, np.float64) + 0.3 * rng.normal(size=w.shape)
    for name, w in latent_attention.init(jax.random.key(0), config).items()
  }
  return config, params, rng.normal(size=(2, time, 8))


@pytest.mark.parametrize("options", OPTIONS)
def test_equals_softmax_over_each_episode(x64, options):
  config, params, x = problem(options)
  reset = np.zeros((2, 12), bool)
  reset[0, 5] = reset[0, 9] = reset[1, 0] = True
  y, state = jax.jit(
    lambda x: latent_attention.apply(config, params, x, None, reset)
  )(x)
  for row, begins in ((0, (0, 5, 9, 12)), (1, (0, 12))):
    for begin, end in zip(begins, begins[1:]):
      # float64 rounding.
      np.testing.assert_allclose(
        y[row, begin:end],
        episode(config, params, x[row, begin:end]),
        rtol=1e-11,
        atol=1e-12,
      )
  np.testing.assert_array_equal(state.length, [3, 12])


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS[1:2])
def test_both_forms_are_one_function(x64, options, monkeypatch):
  config, params, x = problem(options, time=6)
  _, state = latent_attention.apply(config, params, x)
  results = []
  for form in (True, False):
    monkeypatch.setattr(
      latent_attention, "_absorbs", lambda *_, form=form: form
    )

    def loss(params, x, state):
      y, after = latent_attention.apply(config, params, x, state)
      return jnp.sum(y**2), (y, after)

    run = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)
    results.append(jax.jit(run)(params, x, state))
  # float64 rounding.
  chex.assert_trees_all_close(*results, rtol=1e-10, atol=1e-11)


def test_few_queries_meet_the_latents_themselves():
  """At the sizes of DeepSeek-V2."""
  config = latent_attention.Config(
    5120, heads=128, d_key=128, query_rank=1536, window=4095
  )
  assert (config.rotary_width, config.latent_width) == (64, 512)
  for time, continued, expected in (
    (1, True, True),
    (16, True, True),
    (512, True, False),
    (4096, False, False),
  ):
    assert latent_attention._absorbs(config, time, continued) is expected


@pytest.mark.slow
def test_an_undefined_state_behind_a_reset_leaves_no_trace_in_gradients():
  config = latent_attention.Config(4, heads=2, window=3)
  params = latent_attention.init(jax.random.key(0), config)
  state = jax.tree.map(
    lambda leaf: jnp.full_like(leaf, jnp.nan),
    latent_attention.initial_state(config, (1,)),
  )

  def loss(params, x, state):
    reset = jnp.arange(x.shape[1])[None] == 0
    y, final = latent_attention.apply(config, params, x, state, reset)
    return jnp.sum(y) + sum(jnp.sum(leaf) for leaf in final)

  gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
  # In one form, and in the other.
  for time in (1, 9):
    grads = gradient(params, jnp.ones((1, time, 4)), state)
    chex.assert_tree_all_finite(grads)
    chex.assert_trees_all_equal(grads[2], jax.tree.map(jnp.zeros_like, state))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"d_rotary": 3}, "d_rotary: got 3, expected an even number"),
    ({"d_rotary": -2}, "d_rotary: got -2, expected an integer of at least 0"),
    ({"d_latent": 0}, "d_latent: got 0"),
    ({"positions": "sin"}, "positions: got 'sin'"),
  ],
)
def test_bad_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    latent_attention.Config(8, **options)
