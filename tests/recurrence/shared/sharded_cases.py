"""One case for each recurrence that runs with time split over devices."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import recurrence

P = jax.sharding.PartitionSpec


class Case(NamedTuple):
  """A recurrence and inputs for it.

  Attributes:
    name: of the function in `recurrence`.
    timed: arrays (rows, time, ...) by argument.
    fixed: arrays that do not depend on time, by argument; `init` is the state.
    options: what else it is called with.
  """

  name: str
  timed: dict[str, jax.Array]
  fixed: dict[str, Any]
  options: dict[str, Any]


def run(
  case: Case,
  mesh: jax.sharding.Mesh | None = None,
  exchange: str = "gather",
  inside: bool = False,
) -> Callable[..., tuple[jax.Array, Any]]:
  """A function of `timed`, `fixed` and reset, on one device or several.

  With `inside` it is for use inside a `jax.shard_map` over the mesh.
  """
  function, options = getattr(recurrence, case.name), dict(case.options)
  if mesh is None:
    if case.name.startswith(("delta", "dplr", "mlstm", "outer", "softmax")):
      options["method"] = "sequential"  # Compiles fast.
  else:
    options["axis"] = "sp"

  def call(timed, fixed, reset):
    with recurrence.exchanging(exchange):
      return function(**timed, **fixed, reset=reset, **options)

  return call if mesh is None or inside else _split(call, mesh)


def _split(call, mesh):
  split = P(None, "sp")
  return jax.shard_map(
    call, mesh=mesh, in_specs=(split, P(), split), out_specs=(split, P())
  )


def layers(
  case: Case, mesh: jax.sharding.Mesh | None = None
) -> Callable[..., tuple[jax.Array, Any]]:
  """As `run`, three layers with one set of parameters; states of all layers."""
  one = run(case, mesh, inside=True)
  names = ("v", "values", "u", "x", "b")
  carried = next(name for name in names if name in case.timed)

  def call(timed, fixed, reset):
    def layer(x, scale):
      return one(timed | {carried: scale * x}, fixed, reset)

    return jax.lax.scan(layer, timed[carried], jnp.array([0.5, 1, 0.7]))

  return call if mesh is None else _split(call, mesh)


def assert_close(got: Any, want: Any, tolerance: float) -> None:
  """Of pytrees: as close as that, beside the largest value of an array."""
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(
      *(np.asarray(leaf, np.promote_types(leaf.dtype, "f")) for leaf in (x, y)),
      rtol=0,
      atol=tolerance * max(1, np.max(np.abs(y))),
    ),
    got,
    want,
  )


def mesh_of(devices: int) -> jax.sharding.Mesh:
  return jax.sharding.Mesh(np.asarray(jax.devices()[:devices]), ("sp",))


def masks(time: int, devices: int, random: int = 20) -> np.ndarray:
  """Resets (rows, time), among them all that could go wrong at borders."""
  size = time // devices
  index = np.arange(time)
  shard = index // size
  rng = np.random.default_rng(1)
  rows = [
    index < 0,
    index == (devices - 1) * size,  # The first element of a shard.
    index == size - 1,  # The last one.
    index >= 0,
    (shard != 1) & (index % 2 == 0),  # A shard without, between shards with.
    index == 1,  # In the first shard only.
    index == 0,
    *(rng.random((random, time)) < rng.choice([0.05, 0.2], (random, 1))),
  ]
  return np.stack(rows)


def make(name: str, rows: int, time: int, dtype=np.float64) -> Case:
  """The case of a name, one of NAMES."""
  key = np.random.default_rng(0)

  def normal(*shape):
    return jnp.asarray(key.normal(size=shape), dtype)

  def phases(*shape):
    return jnp.exp(-jnp.abs(normal(*shape)) / 4 + 1j * normal(*shape))

  return _MAKERS[name](normal, phases, rows, time)


def _linear(normal, phases, rows, time, **options):
  timed = {"a": phases(rows, time, 2), "b": normal(rows, time, 2) + 0j}
  return Case("linear_scan", timed, {"init": phases(rows, 2)}, options)


def _lti(normal, phases, rows, time, **options):
  fixed = {
    "Lambda_bar": phases(3),
    "B_bar": phases(3, 2),
    "C": phases(2, 3),
    "D": normal(2),
    "init": phases(rows, 3),
  }
  return Case("lti_scan", {"u": normal(rows, time, 2)}, fixed, options)


def _siso_diagonal(normal, phases, rows, time):
  fixed = {name: phases(2, 3) for name in "ABC"}
  fixed["init"] = phases(rows, 2, 3)
  return Case("siso_scan", {"u": normal(rows, time, 2)}, fixed, {})


def _siso_matrix(normal, phases, rows, time):
  del phases
  fixed = {"A": normal(2, 3, 3) / 3, "B": normal(2, 3), "C": normal(2, 3)}
  fixed["init"] = normal(rows, 2, 3)
  return Case("siso_scan", {"u": normal(rows, time, 2)}, fixed, {})


def _selective(normal, phases, rows, time, constant=False):
  del phases
  timed = {
    "x": normal(rows, time, 4),
    "delta": jax.nn.softplus(normal(rows, time, 4)),
  }
  lead = (1, 1, 4) if constant else (rows, time, 2)
  weights = {name: normal(*lead, 3) for name in "BC"}
  fixed = {"A": -jnp.exp(normal(4, 3)), "init": normal(rows, 4, 3)}
  if constant:  # And without D.
    fixed |= weights
  else:
    timed |= weights
    fixed["D"] = normal(4)
  return Case("selective_scan", timed, fixed, {})


def _outer(normal, phases, rows, time):
  del phases
  timed = {
    "q": normal(rows, time, 2),
    "k": normal(rows, time, 2),
    "v": normal(rows, time, 3),
    "decay": -jnp.exp(normal(rows, time, 2)),
  }
  return Case("outer_scan", timed, {"init": normal(rows, 2, 3)}, {})


def _outer_heads(
  normal, phases, rows, time, with_decay=True, channels=1, **options
):
  del phases
  timed = {
    "q": normal(rows, time, 2, 2),
    "k": normal(rows, time, 2, 2),
    "v": normal(rows, time, 4, 3),
  }
  if with_decay:
    timed["decay"] = -jnp.exp(normal(rows, time, 4, channels))
  fixed = {"init": normal(rows, 4, 2, 3)}
  return Case("outer_scan_heads", timed, fixed, options)


def _delta(normal, phases, rows, time, channels=1):
  del phases
  timed = {name: normal(rows, time, 2) for name in ("q", "k", "read")}
  timed |= {
    "v": normal(rows, time, 3),
    "decay": -jnp.exp(normal(rows, time, channels)),
  }
  return Case("delta_scan", timed, {"init": normal(rows, 2, 3)}, {})


def _dplr(normal, phases, rows, time):
  del phases
  # Of a size at which states do not grow without bound.
  timed = {name: normal(rows, time, 2) / 2 for name in "qkab"}
  timed |= {
    "v": normal(rows, time, 3),
    "decay": -jnp.exp(normal(rows, time, 2)),
  }
  return Case("dplr_scan", timed, {"init": normal(rows, 2, 3)}, {})


def _mlstm(normal, phases, rows, time):
  del phases
  # Positive, so that no divisor is a difference.
  timed = {name: jnp.abs(normal(rows, time, 2, 2)) for name in "qk"}
  timed |= {
    "v": normal(rows, time, 2, 3),
    "log_input": 3 * normal(rows, time, 2),
    "log_forget": jax.nn.log_sigmoid(2 + 3 * normal(rows, time, 2)),
  }
  shapes = (rows, 2, 2, 3), (rows, 2, 2), (rows, 2)
  C, n, m = (normal(*shape) for shape in shapes)
  init = recurrence.MLSTMState(C, jnp.abs(n), m)
  return Case("mlstm_scan_heads", timed, {"init": init}, {})


def _softmax(normal, phases, rows, time):
  del phases
  timed = {"scores": 5 * normal(rows, time), "values": normal(rows, time, 3)}
  init = (normal(rows), jnp.exp(normal(rows)), normal(rows, 3))
  fixed = {"init": recurrence.SoftmaxState(*init)}
  return Case("softmax_scan", timed, fixed, {})


def _softmax_outer(normal, phases, rows, time, **options):
  del phases
  timed = {
    "q": normal(rows, time, 2),
    "logits": 5 * normal(rows, time, 2),
    "k": normal(rows, time, 2),
    "v": normal(rows, time, 3),
  }
  init = (normal(rows, 2), jnp.exp(normal(rows, 2)), normal(rows, 2, 3))
  fixed = {"init": recurrence.SoftmaxState(*init)}
  return Case("softmax_outer_scan", timed, fixed, options)


_MAKERS = {
  "delta": _delta,
  "delta_per_channel": functools.partial(_delta, channels=2),
  "dplr": _dplr,
  "mlstm": _mlstm,
  "linear": _linear,
  "linear_reverse": functools.partial(_linear, reverse=True),
  "lti": _lti,
  "lti_reverse": functools.partial(_lti, reverse=True),
  "siso_diagonal": _siso_diagonal,
  "siso_matrix": _siso_matrix,
  "selective": _selective,
  "selective_constant": functools.partial(_selective, constant=True),
  "outer": _outer,
  "outer_heads": _outer_heads,
  "outer_exclusive": functools.partial(
    _outer_heads, channels=2, inclusive=False
  ),
  "outer_no_decay": functools.partial(_outer_heads, with_decay=False),
  "softmax": _softmax,
  "softmax_outer": _softmax_outer,
  "softmax_outer_sink": functools.partial(_softmax_outer, sink=0.5),
}
NAMES = tuple(_MAKERS)
