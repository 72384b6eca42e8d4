"""The benchmark of the mixers compares equals."""

import chex
import jax
import jax.numpy as jnp
import pytest

from benchmarks import mixers as mixers_benchmark
from jaxseq import mixers
from tests.mixers import cases

# float32 over a few elements, and gradients summed over all of them.
_FLOAT32 = {"rtol": 1e-3, "atol": 1e-4}


@pytest.mark.slow
@pytest.mark.parametrize("name", mixers.names())
def test_the_usual_form_is_the_same_mixer(name):
  mixer = cases.bind((name, ()))
  x = cases.sequence(2, 6, dtype=jnp.float32)
  reset = jnp.zeros((2, 6), bool).at[0, 4].set(True).at[1, 0].set(True)
  _, state = mixer.step(
    mixer.params, x[:, 0], mixer.module.initial_state(mixer.config, (2,))
  )

  def value_and_gradient(params, x):
    def loss(params, x):
      y, final = mixer.module.apply(mixer.config, params, x, state, reset)
      leaves = [y, *jax.tree.leaves(final)]
      return sum(jnp.sum(jnp.abs(leaf)) for leaf in leaves), y

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, x)

  chex.assert_trees_all_close(
    jax.jit(mixers_benchmark.usual(value_and_gradient))(mixer.params, x),
    jax.jit(value_and_gradient)(mixer.params, x),
    **_FLOAT32,
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  "name",
  # A short convolution has one form.
  [name for name in mixers.names() if name != "short_conv"],
)
def test_the_usual_form_is_another_program(name):
  apply, arguments = mixers_benchmark.problem(name, time=6, rows=2, d_model=8)
  forward = mixers_benchmark.forward(apply)
  shapes = jax.eval_shape(lambda *arguments: arguments, *arguments)
  ours = jax.make_jaxpr(forward)(*shapes)
  assert str(jax.make_jaxpr(mixers_benchmark.usual(forward))(*shapes)) != str(
    ours
  )


@pytest.mark.parametrize("time", [7, 8])
@pytest.mark.parametrize("name", ["s4", "s4d"])
def test_the_usual_kernel_is_the_same_kernel(name, time):
  mixer = cases.bind((name, (("d_state", 4), ("method", "convolution"))))
  x = cases.sequence(2, time, dtype=jnp.float32)

  def outputs(params, x):
    return mixer.module.apply(mixer.config, params, x)[0]

  usual = jax.jit(mixers_benchmark.usual(outputs))(mixer.params, x)
  assert jnp.std(usual) > 0.1
  chex.assert_trees_all_close(
    usual, jax.jit(outputs)(mixer.params, x), **_FLOAT32
  )
