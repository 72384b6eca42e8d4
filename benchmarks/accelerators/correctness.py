"""Every method of every recurrence against plain steps in float64.

The plain steps run on the CPU, what is checked on the default device: both are
given the same numbers, those of a narrow dtype after rounding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerators import arrays
from benchmarks.accelerators import problems

# Largest errors as shares of the largest number of an array. In float32 a CPU
# rounds each number; a GPU rounds the factors of products to TF32 (about 3e-4
# of each), a TPU to bfloat16 (about 3e-3), and up to three products follow each
# other, in gradients most. Inputs in bfloat16 round results to 2^-9, and scores
# and states before they are multiplied.
_TOLERANCES = {"cpu": 2e-5, "gpu": 3e-3, "cuda": 3e-3, "tpu": 2e-2}
_NARROW = 4e-2


class Check(NamedTuple):
  """What came out of one method.

  Attributes:
    method: its name.
    forward: largest error of outputs and last state, see `error`; None if it
      did not run.
    gradient: the same of the gradient.
    tolerance: what the errors may be.
    note: why it did not run.
  """

  method: str
  forward: float | None
  gradient: float | None
  tolerance: float
  note: str = ""

  @property
  def right(self) -> bool:
    """Whether it may be timed."""
    errors = (self.forward, self.gradient)
    return all(x is not None and x <= self.tolerance for x in errors)


class Truth(NamedTuple):
  """A problem in float64.

  Attributes:
    arguments: numbers as drawn, but rounded to the dtypes of the problem.
    results: outputs and leaves of the last state.
    weights: cotangents of the results.
    gradient: of the sum of the results times these, by names.
  """

  arguments: dict[str, np.ndarray]
  results: list[np.ndarray]
  weights: list[np.ndarray]
  gradient: dict[str, np.ndarray]


def tolerance(platform: str, dtype: str) -> float:
  """The largest error on a platform for inputs of a dtype."""
  plain = _TOLERANCES[platform]
  return max(plain, _NARROW) if dtype == "bfloat16" else plain


def truth(problem: problems.Problem, *, resets: bool = True) -> Truth:
  """Computes a problem by plain steps in float64, on the CPU.

  Args:
    problem: of a small size.
    resets: whether its flags count; there are none without.
  """
  drawn = arrays.drawn(problem.arrays)
  if not resets:
    drawn["reset"] = np.zeros_like(drawn["reset"])
  given = {
    name: x.astype(jnp.dtype(problem.arrays[name].dtype))
    for name, x in drawn.items()
  }
  with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
    wide = {name: jnp.asarray(_wide(x)) for name, x in given.items()}
    learned, rest = problem.split(wide)

    def run(learned):
      y, final = problem.plain({**learned, **rest})
      return [y, *final]

    results, pull = jax.vjp(run, learned)
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal(x.shape) for x in results]
    (gradient,) = pull(
      [jnp.asarray(w, x.dtype) for w, x in zip(weights, results)]
    )
    as_numpy = jax.tree.map(np.asarray, (list(results), gradient))
  return Truth(given, as_numpy[0], weights, as_numpy[1])


def check(
  problem: problems.Problem, method: str, known: Truth, **options
) -> Check:
  """Compares a method with the truth, forward and gradient.

  Args:
    problem: the one that `known` belongs to.
    method: one of its methods, or "auto".
    known: the truth.
    **options: further ones of the public function.
  """
  allowed = tolerance(jax.default_backend(), problem.dtype)
  run = problem.function("forward", method, **options)
  arguments = {name: jnp.asarray(x) for name, x in known.arguments.items()}
  learned, rest = problem.split(arguments)

  def both(learned):
    def results(learned):
      y, final = run({**learned, **rest})
      return [y, *final]

    found, pull = jax.vjp(results, learned)
    cotangents = [jnp.asarray(w, x.dtype) for w, x in zip(known.weights, found)]
    return found, pull(cotangents)[0]

  try:
    found, gradient = jax.jit(both)(learned)
  except (NotImplementedError, ValueError) as reason:
    return Check(method, None, None, allowed, _sentence(reason))
  forward = [error(x, y) for x, y in zip(found, known.results)]
  backward = [error(gradient[n], known.gradient[n]) for n in gradient]
  # Of NumPy: a NaN among them is the largest.
  return Check(method, float(np.max(forward)), float(np.max(backward)), allowed)


def error(got, expected) -> float:
  """The largest difference, as a share of the largest number expected."""
  got = _wide(np.asarray(got))
  largest = float(np.max(np.abs(expected)))
  difference = float(np.max(np.abs(got - expected)))
  return difference / max(largest, 1e-30)


def _wide(x):
  """In float64 or complex128; flags as they are."""
  if x.dtype == bool:
    return x
  return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def _sentence(reason):
  """The first line of an error."""
  return str(reason).splitlines()[0][:160]
