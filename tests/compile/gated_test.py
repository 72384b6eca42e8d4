"""Gated networks by the compilers: kernels of a step, registers."""

import functools

import jax
import jax.numpy as jnp
import pytest

from jaxseq import mixers
from jaxseq import recurrence
from tests.compile import kernels
from tests.compile import resources
from tests.compile import targets

pytestmark = pytest.mark.compile

ROWS, TIME = 64, 1024
# Gates of the inputs and of the state.
GATES = {"elman": (1, 1), "gru": (3, 3), "lstm": (4, 4), "slstm": (4, 4)}


def program(
  name, label, features, *, method="auto", time=TIME, projected=False
):
  """A function, "forward" or "gradient", and shapes for it, in bfloat16.

  With `projected` the inputs are such products already.
  """
  module, (input_gates, gates) = mixers.get(name), GATES[name]
  shape = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
  params = recurrence.GatedParams(
    None if projected else shape((features, input_gates, features)),
    shape((input_gates, features)),
    shape((1, features, gates, features)),
    shape((gates, features)) if name == "gru" else None,
  )
  state = tuple(shape((1, ROWS, features)) for _ in module.State._fields)
  width = features * input_gates if projected else features
  x = jax.ShapeDtypeStruct((time, ROWS, width), jnp.bfloat16)
  reset = jax.ShapeDtypeStruct((time, ROWS), jnp.bool_)

  def forward(params, state, x, reset):
    return recurrence.gated_scan(
      module._CELL, params, state, x, reset=reset, method=method
    )

  def gradient(params, state, x, reset):
    def loss(*arguments):
      hidden, _ = forward(*arguments, reset)
      return jnp.sum(hidden.astype(jnp.float32) ** 2)

    return jax.value_and_grad(loss, (0, 1, 2))(params, state, x)

  function = {"forward": forward, "gradient": gradient}[label]
  return function, params, state, x, reset


# What was counted with jax 0.11.2, and a tenth more. Two kernels a step are the
# least for a product and what is pointwise, and three on the way back.
@pytest.mark.parametrize(
  ("label", "features", "method", "budget"),
  [
    ("forward", 512, "auto", 2850),
    ("gradient", 512, "auto", 9900),
    ("forward", 64, "pallas", 4),
    ("gradient", 64, "pallas", 20),
    ("forward", 512, "pallas", 4),
    ("gradient", 512, "pallas", 22),
  ],
)
def test_kernels_of_a_gpu(label, features, method, budget):
  arguments = program("lstm", label, features, method=method)
  count = kernels.count(targets.compiled("cuda", *arguments).as_text())
  print(f"\n{label} {features} {method}: {count} kernels")
  assert count <= budget


# Arrays like the inputs that pass through memory where the weights of inputs
# and states do not fit the chip together; docs/accelerators_mixers.md adds them
# up.
_WITH_GATES = {
  ("gru", "forward"): 8,
  ("gru", "gradient"): 34,
  ("lstm", "forward"): 10,
  ("lstm", "gradient"): 40,
  ("slstm", "forward"): 10,
  ("slstm", "gradient"): 48,
}


# In multiples of the bytes of arguments and results, what was counted and a
# tenth more. Gates are three or four times as large as inputs, and are written
# and read once forward, with a gradient seven times: what counts them stays
# within 1.4.
@pytest.mark.parametrize(
  ("name", "label", "projected", "most"),
  [
    *(("gru", "forward", False, 4.3), ("gru", "gradient", False, 9.1)),
    *(("lstm", "forward", False, 5.2), ("lstm", "gradient", False, 10.0)),
    *(("slstm", "forward", False, 5.2), ("slstm", "gradient", False, 11.7)),
    *(("lstm", "forward", True, 1.2), ("lstm", "gradient", True, 3.6)),
  ],
)
def test_bytes_of_a_gpu(name, label, projected, most):
  function, *given = program(
    name, label, 512, method="pallas", projected=projected
  )
  moved = kernels.moved(targets.compiled("cuda", function, *given).as_text())
  x = TIME * ROWS * 512 * 2
  inputs = x * GATES[name][0] if projected else x
  weights = sum(4 * leaf.size for leaf in jax.tree.leaves(given[0]))
  least = weights + inputs + x
  if label == "gradient":
    least += 2 * weights + 2 * inputs + x
  print(f"\n{name} {label} {projected}: {moved / 1e9} GB, {moved / least}")
  assert moved <= most * least
  if not projected:
    assert moved <= 1.4 * _WITH_GATES[name, label] * x


# In one block, and over clusters of 4, 8 and 16. Without bytes that do not fit
# the registers of a thread.
@pytest.mark.parametrize(
  ("name", "features"),
  [
    *(("lstm", 64), ("slstm", 64)),
    *(("gru", 128), ("elman", 256), ("gru", 512), ("slstm", 512)),
  ],
)
def test_nothing_spills_on_a_gpu(name, features, capfd, monkeypatch):
  monkeypatch.setenv("MOSAIC_GPU_DUMP_PTXAS", "1")
  arguments = program(name, "gradient", features, method="pallas", time=128)
  targets.compiled("cuda", *arguments)
  found = resources.registers(capfd.readouterr().out)
  print("\n", found)
  assert {"gated_forward", "gated_backward"} <= set(found)
  assert all(kernel.spilled == 0 for kernel in found.values())
