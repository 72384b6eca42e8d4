"""`StackConfig.kernels` decides whether a network's scans take kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq import recurrence

H100, V5E = ("gpu", "sm_90", "cuda"), ("tpu", "TPU v5 lite", "tpu")
_KERNEL = {"cuda": "mosaic_gpu", "tpu": "tpu_custom_call"}


def _program(config, platform):
  """The text of a network's gradient, lowered for a platform."""
  backend, chip, name = platform
  if name == "cuda" and jax.__version_info__ < (0, 11):
    pytest.skip("Hopper kernels need jax 0.11.")
  model = nn.SequenceModel(config)
  x = jax.ShapeDtypeStruct((1, 64, config.d_model), jnp.float32)
  reset = jax.ShapeDtypeStruct((1, 64), jnp.bool_)
  variables = jax.eval_shape(model.init, jax.random.key(0), x)

  def loss(variables, x, reset):
    y, _ = model.apply(variables, x, None, reset)
    return jnp.sum(y.astype(jnp.float32))

  with recurrence.kernels.choosing_for(backend, chip):
    traced = jax.jit(jax.grad(loss)).trace(variables, x, reset)
    return traced.lower(lowering_platforms=(name,)).as_text()


@pytest.mark.slow
@pytest.mark.parametrize(
  ("mixer", "options", "platform"),
  [
    ("mamba2", {"headdim": 16, "d_state": 16}, V5E),
    pytest.param(
      *("mamba2", {"headdim": 16, "d_state": 16}, H100), marks=pytest.mark.slow
    ),
    pytest.param("lru", {}, H100, marks=pytest.mark.slow),
    pytest.param("mamba", {}, V5E, marks=pytest.mark.slow),
    pytest.param("gated_deltanet", {"heads": 2}, V5E, marks=pytest.mark.slow),
    pytest.param("gla", {"heads": 2}, H100, marks=pytest.mark.slow),
    pytest.param("mlstm_large", {"heads": 2}, H100, marks=pytest.mark.slow),
    pytest.param("lstm", {}, H100, marks=pytest.mark.slow),
    pytest.param("attention", {"window": 8}, V5E, marks=pytest.mark.slow),
  ],
)
def test_on_takes_kernels_and_auto_none_unmeasured(mixer, options, platform):
  how = {"d_model": 32, "num_layers": 1, "dtype": "bfloat16"}
  kernel = _KERNEL[platform[2]]
  assert kernel in _program(
    nn.StackConfig(mixer, options, kernels="on", **how), platform
  )
  assert kernel not in _program(nn.StackConfig(mixer, options, **how), platform)


def test_auto_and_on_follow_the_callers_context():
  """ "auto" takes what the caller says, and nobody takes what is turned off."""
  x = jax.ShapeDtypeStruct((1, 16, 16), jnp.bfloat16)

  def takes_a_kernel(choice, context):
    config = nn.StackConfig(
      "linear_attention", d_model=16, num_layers=1, kernels=choice
    )
    model = nn.SequenceModel(config)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    with recurrence.kernels.choosing_for(*V5E[:2]), context:
      return "pallas_call" in str(jax.make_jaxpr(model.apply)(variables, x))

  use = recurrence.kernels.use
  assert takes_a_kernel("auto", use("on"))
  assert not takes_a_kernel("auto", use("auto"))
  assert takes_a_kernel("on", use("auto"))
  assert not takes_a_kernel("on", recurrence.kernels.off())
  assert not takes_a_kernel("off", use("on"))


def test_on_falls_back_where_there_is_no_kernel():
  """Of a GRU on a TPU."""
  config = nn.StackConfig("gru", d_model=16, num_layers=1, kernels="on")
  assert _KERNEL["tpu"] not in _program(config, V5E)


@pytest.mark.slow
def test_on_changes_nothing_on_a_cpu():
  x = np.random.default_rng(0).normal(size=(2, 9, 8)).astype("f4")
  auto, on = (
    nn.SequenceModel(nn.StackConfig("mamba2", d_model=8, kernels=kernels))
    for kernels in ("auto", "on")
  )
  variables = jax.jit(auto.init)(jax.random.key(0), x)
  np.testing.assert_array_equal(
    jax.jit(auto.apply)(variables, x)[0], jax.jit(on.apply)(variables, x)[0]
  )


def test_unknown_words_are_refused():
  with pytest.raises(ValueError, match="kernels: got 'yes', expected one of"):
    nn.StackConfig("s5", kernels="yes")
