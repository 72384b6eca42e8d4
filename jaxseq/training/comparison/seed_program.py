"""All seeds of an arm as one program, dealt out to devices or on a mesh."""

from collections.abc import Callable
from collections.abc import Sequence
import copy
import functools
from typing import Any

import jax

from jaxseq.training import _early_stopping
from jaxseq.training import finite
from jaxseq.training import scalars
from jaxseq.training.comparison import arms
from jaxseq.training.devices import placement
from jaxseq.types import PyTree


class SeedProgram:
  """A `arms.Program` made of functions of one seed.

  Args:
    config: of the comparison.
    init: (key, *start) -> state of one seed.
    train: (state, *data, count) -> state and metrics of one seed.
    keys: of the seeds (num_seeds,), placed as the mesh wants them.
    examples: the field of a state that has an axis of examples, see
      `placement.state_placements`.
    num_updates: of the whole run.
    steps_per_update: see `loop.run`.
    update_axis: see `loop.run`.
    data: arrays that all seeds share.
    start: how many of these `init` reads, the first ones.
    copies: arms that are trained side by side.
  """

  evaluate_every: int | None = None
  # A loss or gradient that is not finite makes parameters so in the same chunk.
  losses: Sequence[str] = ()
  hooks: Sequence[scalars.Hook] = ()
  rule: _early_stopping.Rule | None = None

  def __init__(
    self,
    config: arms.Arms,
    init: Callable[[jax.Array], Any],
    train: Callable[..., tuple[Any, Any]],
    keys: jax.Array,
    *,
    examples: str,
    num_updates: int,
    steps_per_update: int = 1,
    update_axis: int | None = None,
    data: tuple[Any, ...] = (),
    start: int = 0,
    copies: int = 1,
  ):
    self.num_updates = num_updates
    self.steps_per_update = steps_per_update
    self.update_axis = update_axis
    self.config = config
    self._init = init
    self._keys = keys
    self._examples = examples
    self._given = data
    self._start_data = start
    self._copies = copies

    @functools.cache
    def chunk(count: int):
      def run(*arguments):
        state, metrics = train(*arguments, count)
        if config.on_nonfinite != "ignore":
          metrics = {**metrics, finite.FLAGS: self._flags(state)}
        return state, metrics

      return self.compile(
        run,
        copies=copies,
        shared=len(data),
        donate_argnums=0,
        out_shardings=(self._where(), placement.everywhere(config.mesh)),
      )

    @functools.cache
    def first():
      sharding = self._where()
      options: dict[str, Any] = {"out_shardings": sharding}
      if sharding is None and jax.default_backend() == "cpu":
        # It runs once: optimizing it costs more than it gives.
        options["compiler_options"] = {"xla_backend_optimization_level": 0}
      return self.compile(
        self._init, shared=self._start_data, one_by_one=True, **options
      )

    self._chunk, self._start = chunk, first
    self._broken = self.compile(
      self._flags,
      copies=copies,
      out_shardings=placement.everywhere(config.mesh),
    )

  def on(self, keys: jax.Array, data: tuple[Any, ...]) -> "SeedProgram":
    """Returns the same program with other keys and data, of the same shapes.

    What has been compiled for one of them serves the other.
    """
    other = copy.copy(self)
    other._keys, other._given = keys, data
    other.__dict__.pop("_data", None)
    return other

  @functools.cached_property
  def _data(self):
    """The data on the devices."""
    num_runs = self._copies * self.config.num_seeds
    data = self._given
    return placement.share(self.config.mesh, num_runs, data) if data else ()

  def compile(
    self, function: Callable, *, copies: int = 1, **options: Any
  ) -> Callable:
    """Compiles a function of one seed for all; see `placement.compiled`."""
    num_runs = copies * self.config.num_seeds
    return placement.compiled(self.config.mesh, num_runs, function, **options)

  def share(self, data: PyTree) -> PyTree:
    """Puts data that all seeds share onto the devices."""
    return placement.share(self.config.mesh, self.config.num_seeds, data)

  def init(self) -> PyTree:
    """Returns the states of all seeds before the first update."""
    return self._start()(self._keys, *self._data[: self._start_data])

  def template(self) -> PyTree:
    """Returns the shapes of all seeds' states, placed as they are trained."""
    shapes, sharding = self._shapes, self._where()
    if sharding is None:
      return shapes
    return jax.tree.map(
      lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at),
      shapes,
      sharding,
    )

  def chunk(self, state: PyTree, count: int) -> tuple[PyTree, PyTree]:
    """Makes a number of updates of all seeds; the states are donated."""
    return self._chunk(count)(state, *self.arguments(state, count))

  def arguments(self, state: PyTree, count: int) -> tuple[Any, ...]:
    """Returns what `chunk` gives the program beside the states."""
    del state, count
    return self._data

  def close(self) -> None:
    """Ends what works beside the program, once it is trained."""

  def lower(
    self, count: int, sharding: jax.sharding.Sharding | None = None
  ) -> jax.stages.Lowered:
    """Lowers the program of `chunk`; nothing is allocated.

    Args:
      count: number of updates.
      sharding: where all arrays lie; that of a described device compiles for it
        without the hardware.
    """
    arguments = self.template(), *self._data
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
      arguments,
    )
    return self._chunk(count).lower(*shapes)

  def trained(self, state: PyTree) -> PyTree:
    """Returns the variables in a state."""
    return state.variables

  def broken(self, state: PyTree) -> jax.Array:
    """Returns `finite.flags` of the variables of all seeds (runs, leaves)."""
    return self._broken(state)

  def _flags(self, state):
    return finite.flags(self.trained(state))

  @functools.cached_property
  def _shapes(self):
    """The shapes of all seeds' states."""
    shared = self._given[: self._start_data]
    axes = (0, *(None for _ in shared))
    return jax.eval_shape(jax.vmap(self._init, axes), self._keys, *shared)

  def _where(self):
    """Returns the placement of the states; None, untraced, without a mesh."""
    mesh = self.config.mesh
    if placement.everywhere(mesh) is None:
      return None
    return placement.state_placements(mesh, self._shapes, self._examples)
