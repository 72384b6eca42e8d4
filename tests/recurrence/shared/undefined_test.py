"""Undefined numbers of one episode make no difference to the others.

Neither those of inputs nor those of cotangents, and neither to outputs and
states nor to gradients, by any method, on one device and on several.
"""

import itertools

import jax
import numpy as np
import pytest

from tests.recurrence.shared import sharded_cases as cases

TIME, BORDERS = 16, (0, 5, 11, 16)
EPISODES = [slice(*pair) for pair in itertools.pairwise(BORDERS)]
_SLOW = pytest.mark.slow


def _rows(tree, count):
  return jax.tree.map(lambda x: np.repeat(np.asarray(x), count, axis=0), tree)


def _check(case, run):
  # Each damage in a row of its own, and as many rows without any before.
  damages = list(itertools.product(range(3), [*case.timed, ""], range(2)))
  count = len(damages)
  timed, init = _rows((case.timed, case.fixed["init"]), 2 * count)
  reset = _rows(np.isin(np.arange(TIME), BORDERS[1:])[None], 2 * count)

  def scan(timed, init):
    return run(timed, case.fixed | {"init": init}, reset)

  rng = np.random.default_rng(5)
  y, final = jax.eval_shape(scan, timed, init)
  weights = _rows(rng.normal(size=(1, *y.shape[1:])), 2 * count)
  of_final = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), final)
  inside = np.zeros((count, TIME), bool)
  for row, (number, name, some) in enumerate(damages):
    episode = EPISODES[number]
    inside[row, episode] = True
    # It has no part in the loss.
    weights[[row, count + row], episode] = 0
    if number == 2:
      for leaf in jax.tree.leaves(of_final):
        leaf[[row, count + row]] = 0
    place, bad = (episode.start + 1, np.inf) if some else (episode, np.nan)
    (timed[name] if name else weights)[count + row, place] = bad

  @jax.jit
  def pulled(timed, init, weights, of_final):
    out, pull = jax.vjp(scan, timed, init)
    return out, pull((weights.astype(y.dtype), of_final))

  out = jax.device_get(pulled(timed, init, weights, of_final))
  (y, final), (d_timed, d_init) = out
  numbers = np.array([number for number, *_ in damages])
  parts = ((y, d_timed), ~inside), (final, numbers < 2), (d_init, numbers > 0)
  for tree, others in parts:
    for leaf in jax.tree.leaves(tree):
      sound, damaged = np.split(leaf, 2)
      assert np.all(np.isfinite(sound))
      np.testing.assert_array_equal(damaged[others], sound[others])
  # An undefined cotangent is not hidden where it belongs.
  for row, (number, name, _) in enumerate(damages):
    own = [leaf[count + row, EPISODES[number]] for leaf in d_timed.values()]
    assert name or not all(np.all(np.isfinite(leaf)) for leaf in own)


_METHODS = {
  "delta": ("chunked", "sequential"),
  "delta_per_channel": ("chunked",),
  "dplr": ("chunked", "sequential"),
  "linear": ("sequential", "associative", "chunked"),
  "lti": ("sequential", "associative", "chunked"),
  "mlstm": ("chunked", "sequential"),
  "outer": ("chunked", "sequential", "associative"),
  "outer_heads": ("chunked",),
  "outer_no_decay": ("chunked",),
  "selective": ("sequential", "associative", "chunked"),
  "siso_diagonal": (None,),
  "softmax": ("sequential", "associative", "chunked"),
  "softmax_outer": ("chunked", "decays", "sequential", "associative"),
}
_QUICK = {
  "delta": "chunked",
  "mlstm": "chunked",
  "outer": "chunked",
  "outer_heads": "chunked",
  "selective": "associative",
  "softmax_outer": "chunked",
}


@pytest.mark.parametrize(
  ("name", "method"),
  [
    pytest.param(
      *(name, method), marks=() if _QUICK.get(name) == method else _SLOW
    )
    for name, methods in _METHODS.items()
    for method in methods
  ],
)
def test_of_one_device(x64, name, method):
  case = cases.make(name, 1, TIME)
  if method is not None:
    case = case._replace(options=case.options | {"method": method})
  options, function = case.options, getattr(cases.recurrence, case.name)

  def run(timed, fixed, reset):
    return function(**timed, **fixed, reset=reset, **options)

  _check(case, run)


@pytest.mark.devices
@pytest.mark.parametrize(
  ("name", "exchange"),
  [
    pytest.param(
      *(name, exchange),
      marks=()
      if exchange == "gather" and name in ("linear", *_QUICK)
      else _SLOW,
    )
    for name in _METHODS
    for exchange in ("gather", "ppermute")
  ],
)
def test_of_several_devices(x64, name, exchange):
  case = cases.make(name, 1, TIME)
  _check(case, cases.run(case, cases.mesh_of(4), exchange))
