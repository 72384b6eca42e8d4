"""A supervised problem as pure functions, and its updates by gradient.

    state = supervised.init(problem, optimizer, key)    # jitted on its own
    state, metrics = supervised.train(problem, optimizer, state, data, count)

A problem draws its batches itself, on the device: from arrays that lie there,
or from a generator. So many updates are one program, `vmap` trains many seeds
at once, and a run depends on nothing but its state.
"""

from collections.abc import Callable
from typing import NamedTuple
from typing import Protocol

import jax
from jax import lax
import jax.numpy as jnp
import optax

from jaxseq import validate
from jaxseq.training import flat_parameters
from jaxseq.training import optimizers
from jaxseq.training import shuffle
from jaxseq.training.devices import device_mesh
from jaxseq.types import PyTree

Metrics = dict[str, jax.Array]

# The name of an evaluation's data for figures, which are not metrics and are
# not logged.
TALLIES = "tallies"


class Loss(NamedTuple):
  """The outputs of a problem's loss function beside the loss.

  Attributes:
    metrics: scalars of the batch.
    collections: Flax collections that the model updated, such as
      {"batch_stats": ...}; they replace those of the variables.
    carry: what the next batch's loss starts from.
  """

  metrics: Metrics
  collections: PyTree = {}
  carry: PyTree = None


class Problem(Protocol):
  """A model on a task, for one seed.

  A problem whose batches the host makes has a `source`, a `feeding.Source`,
  too; its data (a dict) then have "batches", a `feeding.Batches`, in training.
  """

  @property
  def data(self) -> PyTree:
    """Arrays that all seeds share; they are passed to the functions."""

  @property
  def carry(self) -> PyTree:
    """The first carry, for all seeds; None where batches are independent."""

  @property
  def init(self) -> Callable[..., PyTree]:
    """A function from a key to Flax collections, with "params" among them.

    Of a problem with `starts_from_data` that is true, from (key, data).
    """

  @property
  def sample(self) -> Callable[[jax.Array, jax.Array, PyTree], PyTree]:
    """A function from (key, update, data) to a batch.

    The key is the same for all updates of a seed; `update` counts those made,
    see `draw`.
    """

  @property
  def loss(
    self,
  ) -> Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[jax.Array, Loss]]:
    """A function from (variables, batch, carry, key) to a scalar and `Loss`."""

  @property
  def validate(self) -> Callable[[PyTree, PyTree], Metrics]:
    """A function from (variables, data) to the metrics of training.

    Training is watched by them, on the validation part. For a problem without
    one they are those of `evaluate`.
    """

  @property
  def evaluate(self) -> Callable[[PyTree, PyTree], Metrics]:
    """A function from (variables, data) to the metrics of a trained model."""


class State(NamedTuple):
  """State of training.

  Attributes:
    variables: of the model.
    opt_state: of the optimizer.
    carry: see `Problem`.
    key: key of the run; it does not change.
    update: number of updates made, int32.
    best: an `early_stopping.Best` where there is early stopping; updates leave
      it alone.
  """

  variables: PyTree
  opt_state: PyTree
  carry: PyTree
  key: jax.Array
  update: jax.Array
  best: PyTree = None


def init(
  problem: Problem,
  optimizer: optax.GradientTransformation,
  key: jax.Array,
  *data: PyTree,
) -> State:
  """Returns the state before the first update; all of a run is of its key.

  Args:
    problem: the problem.
    optimizer: its optimizer.
    key: of the run.
    *data: the problem's, on the device, where it `starts_from_data`.
  """
  key_init, key_run = jax.random.split(key)
  variables = dict(problem.init(key_init, *data))
  return State(
    variables,
    optimizer.init({"params": variables["params"]}),
    problem.carry,
    key_run,
    jnp.zeros((), jnp.int32),
  )


def update(
  problem: Problem,
  optimizer: optax.GradientTransformation,
  state: State,
  data: PyTree,
  *,
  skip_nonfinite: bool = False,
) -> tuple[State, Metrics]:
  """Draws a batch and makes one update.

  The data are the problem's, on the device. With `skip_nonfinite`, see
  `optimizers.step`, what the loss function returns to keep is left out too.

  Returns:
    The state after the update, and metrics: those of the loss function, "loss"
    and "grad_norm", and those of `optimizers.step`.
  """
  trained, rest = _split(state.variables)
  trained, state, metrics = _update(
    problem,
    optimizer,
    flat_parameters.Plain(),
    trained,
    state._replace(variables=rest),
    data,
    skip_nonfinite,
  )
  return _joined(trained, state), metrics


def _update(problem, optimizer, form, held, state, data, skip_nonfinite):
  """The next state, whose parameters `form` holds."""
  key_data, key_loss = jax.random.split(state.key)
  batch = device_mesh.spread(problem.sample(key_data, state.update, data))
  key_loss = jax.random.fold_in(key_loss, state.update)

  def loss(trained):
    variables = {**state.variables, **trained}
    return problem.loss(variables, batch, state.carry, key_loss)

  (value, extra), grads = jax.value_and_grad(loss, has_aux=True)(
    form.unpack(held)
  )
  grads = form.pack(grads)
  held, opt_state, skipped = optimizers.step(
    optimizer, grads, state.opt_state, held, skip_nonfinite=skip_nonfinite
  )
  metrics = {
    "loss": value,
    "grad_norm": optax.tree.norm(grads),
    **extra.metrics,
    **skipped,
  }
  variables, carry = {**state.variables, **extra.collections}, extra.carry
  if skip_nonfinite:
    applied = skipped[optimizers.SKIPPED] == 0
    variables = optimizers.keep_if(applied, variables, dict(state.variables))
    carry = optimizers.keep_if(applied, carry, state.carry)
  state = State(
    variables, opt_state, carry, state.key, state.update + 1, state.best
  )
  return held, state, metrics


def _split(variables):
  """The trained collection, and the others."""
  rest = {k: v for k, v in variables.items() if k != "params"}
  return {"params": variables["params"]}, rest


def _joined(trained, state):
  """The state with the trained collection among its variables."""
  return state._replace(variables={**state.variables, **trained})


def train(
  problem: Problem,
  optimizer: optax.GradientTransformation,
  state: State,
  data: PyTree,
  count: int,
  *,
  skip_nonfinite: bool = False,
) -> tuple[State, Metrics]:
  """Makes `count` updates; returns the state and the metrics' means.

  Of `optimizers.SKIPPED` the metrics have the sum; see `update`.
  """
  trained, rest = _split(state.variables)
  form = flat_parameters.Plain()
  if count > 1:
    # What is packed once has to serve several updates.
    form = flat_parameters.choose(optimizer, trained, state.opt_state)

  def body(carry, _):
    *carry, metrics = _update(
      problem, optimizer, form, *carry, data, skip_nonfinite
    )
    return tuple(carry), metrics

  opt_state = form.pack_state(state.opt_state)
  state = state._replace(variables=rest, opt_state=opt_state)
  held = form.pack(trained)
  (held, state), metrics = lax.scan(body, (held, state), length=count)
  state = state._replace(opt_state=form.unpack_state(state.opt_state))
  state = _joined(form.unpack(held), state)
  return state, optimizers.over_steps(metrics)


def draw(key: jax.Array, update: jax.Array, size: int, batch: int) -> jax.Array:
  """Returns the indices of a batch: epochs in random order, one by one.

  Epochs follow each other without a gap: every example is drawn once before
  any is drawn again, and where an epoch ends within a batch the next begins.
  The cost does not grow with the number of examples; see
  `jaxseq.training.shuffle` for how good the order is.

  Args:
    key: key of the run; the same for all updates.
    update: number of updates made, an integer; up to 2**32 examples are drawn
      before the order repeats itself.
    size: number of examples.
    batch: size of a batch, at most `size`.

  Returns:
    (batch,) int32.
  """
  validate.integer("batch", batch, 1, size)
  update = jnp.asarray(update).astype(jnp.uint32)
  position = update * jnp.uint32(batch) + jnp.arange(batch, dtype=jnp.uint32)
  epoch, place = position // size, position % size
  # A batch belongs to two epochs at most.
  words = jax.vmap(
    lambda number: jax.random.bits(
      jax.random.fold_in(key, number), (shuffle.NUM_WORDS, 1), jnp.uint32
    ),
    out_axes=1,
  )(epoch[0] + jnp.arange(2, dtype=jnp.uint32))
  words = jnp.where(epoch == epoch[0], words[:, 0], words[:, 1])
  return shuffle.permute(words, place, size).astype(jnp.int32)
