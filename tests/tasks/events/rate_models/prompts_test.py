"""Prompts of AttNHP: the published form, and one that sees no future."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.tasks.events.rate_models import attnhp
from jaxseq.tasks.events.rate_models import decays
from tests.tasks.events.rate_models import published_prompts


def _golden_model(data):
  """The parameters of the published model, in our layout."""
  layer = "param/heads.0.0.self_attn"
  params = {
    "E": data["param/layer_type_emb.weight"],
    "prompts": {
      name: {
        "key": data[f"{layer}.prompt_pool_{name}.prompt_key"][None],
        "prompt": data[f"{layer}.prompt_pool_{name}.type_prompt"][None],
      }
      for name in "kv"
    },
    "read_out": {
      "w": data["param/inten_linear.weight"],
      "b": data["param/inten_linear.bias"],
      "log_beta": np.zeros(3),
    },
  }
  for i, name in enumerate("qkv"):
    W = data[f"{layer}.linears.{i}.weight"]
    b = data[f"{layer}.linears.{i}.bias"]
    params[name] = {"W": W.T[None], "b": b[None]}
  config = attnhp.Config(
    *(3, 32), num_layers=1, heads=1, prompts=10, chosen=5, prompt_length=5
  )
  return config, params


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shifted", [False, True])
def test_the_published_form_is_that_of_the_reference(golden, shifted):
  known = golden("events/prompt_attnhp")
  config, params = _golden_model(known)
  hidden = known["attention_mask"][:, 1:, :-1]
  before = [known[name][:, :-1] for name in ("marks", "dt", "time")]
  h, cosine = published_prompts.encode(
    config, params, *before, hidden, known["time"][:, 1:], shifted=shifted
  )
  rates = decays.read_out(params["read_out"], h)
  kind = "shifted_mask/" if shifted else ""
  there = known["mask"][:, 1:]
  for got, name in ((h, "encoded"), (rates, "intensity")):
    wanted = known[f"{kind}{name}"]
    np.testing.assert_allclose(got[there], wanted[there], atol=1e-12)
  if not shifted:
    wanted = known["prompt_key_similarity"]
    np.testing.assert_allclose(cosine, wanted, rtol=1e-10)
    # What comes later changes what is said of before.
    marks = before[0].copy()
    marks[0, 3] = (marks[0, 3] + 1) % 3
    other, _ = published_prompts.encode(
      config, params, marks, *before[1:], hidden, known["time"][:, 1:]
    )
    assert np.abs(other - h)[0, 0].max() > 1e-4


def _model(**options):
  config = attnhp.Config(
    num_marks=3,
    d_model=6,
    heads=1,
    d_time=4,
    prompts=5,
    chosen=2,
    prompt_length=2,
    memory=8,
    **options,
  )
  params = attnhp.init(jax.random.key(0), config)
  rng = np.random.default_rng(1)
  marks = jnp.asarray(rng.integers(0, 3, (2, 7)).astype(np.int32))
  gaps = jnp.asarray(rng.exponential(size=(2, 7)).astype(np.float32))
  return config, params, marks, gaps


ELAPSED = jnp.array([[[0.3, 1.0]]])


@functools.partial(jax.jit, static_argnums=0)
def _rates(config, params, *events):
  states, last = attnhp.apply(config, params, *events)
  elapsed = jnp.broadcast_to(ELAPSED, (*events[0].shape, 2))
  return attnhp.intensity(config, params, states, elapsed), states, last


def test_prompts_see_neither_the_future_nor_other_sequences():
  config, params, marks, gaps = _model()
  rates, states, _ = _rates(config, params, marks, gaps)
  later = _rates(
    config, params, marks.at[:, 4:].set(0), gaps.at[:, 4:].add(0.5)
  )[0]
  np.testing.assert_array_equal(later[:, :4], rates[:, :4])
  assert jnp.abs(later[:, 4:] - rates[:, 4:]).max() > 1e-4
  # A sequence alone: the same to the rounding of matrix products.
  alone = _rates(config, params, marks[:1], gaps[:1])[0]
  np.testing.assert_allclose(alone[0], rates[0], rtol=1e-5)
  assert states.prompts.cosine.shape == (2, 7)


@pytest.mark.slow
def test_prompts_go_on_and_begin_anew():
  config, params, marks, gaps = _model()
  rates, _, _ = _rates(config, params, marks, gaps)
  state = attnhp.initial_state(config, params, (2,))
  for part in (np.s_[:, :3], np.s_[:, 3:]):
    got, _, state = _rates(config, params, marks[part], gaps[part], state)
    np.testing.assert_allclose(got, rates[part], rtol=1e-5)
  reset = jnp.zeros((2, 7), bool).at[:, 4].set(True)
  got, _, _ = _rates(config, params, marks, gaps, None, reset)
  alone = _rates(config, params, marks[:, 4:], gaps[:, 4:])[0]
  np.testing.assert_allclose(got[:, 4:], alone, rtol=1e-5)


@pytest.mark.slow
def test_only_chosen_prompts_have_a_gradient():
  config, params, marks, gaps = _model(num_layers=1)

  def value(params):
    rates, states, _ = _rates(config, params, marks[:1], gaps[:1])
    return rates.sum() + states.prompts.cosine[:, -1].sum()

  slopes = jax.jit(jax.grad(value))(params)["prompts"]
  for name in "kv":
    moved = np.any(np.asarray(slopes[name]["prompt"][0]) != 0, axis=(1, 2))
    keys = np.any(np.asarray(slopes[name]["key"][0]) != 0, axis=1)
    # Keys by the last event alone, prompts by any.
    assert keys.sum() == 2
    assert not np.any(keys & ~moved)
    assert moved.sum() < 5
