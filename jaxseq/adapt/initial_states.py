"""Tuned initial states: sequences begin with them instead of zeros.

All weights are frozen. The trainable variables are one float32 state per
recurrent layer, initialized by zeros and shared by all rows ("S0 tuning",
arXiv:2604.01168; state tuning of RWKV). Windows of convolutions, caches of
attention, counters and positions stay fresh.

    states = initial_states.parameters(network, variables)
    states, losses = initial_states.tune(
      network, variables, states, tokens, scored
    )
    states = initial_states.scaled(states, 0.65)
    tuned = initial_states.attach(network, variables, states)
    tokens, _ = generation.generate(network, tuned, prompt, 20, key)

With the variables of `attach` a row without given states begins with the tuned
ones: in `apply`, in steps (also after a reset), in `generate`, in an `Engine`
and with its `PrefixCache`. A row with given states resumes from them. A
sequence with resets inside raises an error: each row holds one document.

The tuned arrays are those that a mixer declares as memory (`contract.Traits`).
Complex memories are pairs of real numbers in a last axis. A sum of weights is
max(0, tuned value); if a mixer keeps its averages with logarithms of scales,
these start at 0, as a scale of 0 would cancel the state.
"""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
import re
from typing import NamedTuple

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import mixers
from jaxseq import nn
from jaxseq import validate
from jaxseq.interop import described_file
from jaxseq.interop import safetensors_file
from jaxseq.nn import sequence_model
from jaxseq.types import PyTree

# Trainable states by leaf path, such as "0/ssm".
States = dict[str, jax.Array]

# Logarithms of scales below this mean an empty state.
_NOTHING = -1e20
# Names of the states in an RWKV file.
_TIME_STATE = re.compile(r"(?:.*\.)?blocks\.(\d+)\.att\.time_state")


@dataclasses.dataclass(frozen=True)
class Recipe:
  """Options of `tune`; the defaults are those of S0 tuning.

  Attributes:
    updates: number of updates, each on all rows.
    learning_rate: learning rate of Adam.
    penalty: weight of the sum of squares in the loss.
    clip: largest gradient norm, including the penalty.
  """

  updates: int = 20
  learning_rate: float = 1e-3
  penalty: float = 5e-4
  clip: float = 1.0

  def __post_init__(self):
    validate.fields(
      self, positive=("updates",), above_zero=("learning_rate", "clip")
    )
    validate.number("penalty", self.penalty)


@dataclasses.dataclass(frozen=True)
class _Leaf:
  """One array of the initial states."""

  fresh: jax.Array
  mixer: str  # The last word of its module's name.
  kind: str  # The field of `Traits` that lists it, or "".


def _leaves(network, variables) -> dict[str, _Leaf]:
  """Returns the arrays of the initial states by path."""
  base = {k: v for k, v in variables.items() if k != sequence_model.TUNED}
  states = network.initial_state(variables=base)
  stack = nn.SequenceModel(network.config.stack, parent=None)

  def of_mixer(config, state):
    module = mixers.module_of(config)
    traits = mixers.traits(module)

    def leaf(path, fresh):
      name = _joined(path[-1:])
      fields = "memory", "norms", "exponents"
      kinds = [field for field in fields if name in getattr(traits, field)]
      return _Leaf(fresh, module.__name__.rpartition(".")[2], "".join(kinds))

    return jax.tree_util.tree_map_with_path(leaf, state)

  owners = stack.states_of(lambda config, *path: config)
  tree = jax.tree.map(of_mixer, owners, states)
  flat, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {_joined(path): leaf for path, leaf in flat}


def _joined(path):
  return jax.tree_util.keystr(path, simple=True, separator="/")


def _tunable(network, variables) -> dict[str, _Leaf]:
  """Returns the arrays that may be tuned."""
  leaves = _leaves(network, variables)
  kinds = "memory", "norms"
  result = {path: leaf for path, leaf in leaves.items() if leaf.kind in kinds}
  if not result:
    names = ", ".join(dict.fromkeys(leaf.mixer for leaf in leaves.values()))
    expected = "mixers with a memory that can be tuned"
    raise validate.error("network", names or "no states", expected)
  return result


def _shape(leaf):
  """Returns the shape of the trainable array of a state."""
  pair = (2,) if jnp.iscomplexobj(leaf.fresh) else ()
  return (*leaf.fresh.shape, *pair)


def parameters(
  network: nn.SequenceNetwork,
  variables: Mapping[str, PyTree],
  which: str | None = None,
) -> States:
  """Returns the initial trainable states: zeros, which change no output.

  Args:
    network: the network.
    variables: its variables.
    which: regular expression to search in the paths of the states; every memory
      of every layer if None.

  Returns:
    float32 arrays by paths, such as "0/ssm" for (heads, d_state, headdim).

  Raises:
    ValueError: if no path matches.
  """
  leaves = _tunable(network, variables)
  validate.expression("which", which or "")
  paths = [path for path in leaves if re.search(which or "", path)]
  if not paths:
    raise validate.error("which", which, f"one of {', '.join(leaves)}")
  return {path: jnp.zeros(_shape(leaves[path])) for path in paths}


def attach(
  network: nn.SequenceNetwork,
  variables: Mapping[str, PyTree],
  states: Mapping[str, jax.Array],
) -> dict[str, PyTree]:
  """Returns variables with tuned initial states.

  Args:
    network: the network.
    variables: its variables, with or without adapters; tuned states in them are
      replaced.
    states: from `parameters`; differentiable.

  Raises:
    ValueError: if the states are not those of the network.
  """
  leaves = _leaves(network, variables)
  values = {}
  for path, value in states.items():
    leaf = leaves.get(path)
    if leaf is None or leaf.kind not in ("memory", "norms"):
      expected = f"among {', '.join(_tunable(network, variables))}"
      raise validate.error("states", path, expected)
    validate.shape(f"states[{path!r}]", value, _shape(leaf))
    if jnp.iscomplexobj(leaf.fresh):
      value = jax.lax.complex(value[..., 0], value[..., 1])
    elif leaf.kind == "norms":
      # The gradient at 0 is one half, so that training can leave 0.
      value = jnp.maximum(value, 0)
    values[path] = leaf.fresh + value
  parents = {path.rpartition("/")[0] for path in values}
  for path, leaf in leaves.items():
    if leaf.kind == "exponents" and path.rpartition("/")[0] in parents:
      values[path] = jnp.where(leaf.fresh < _NOTHING, 0, leaf.fresh)
  tree = traverse_util.unflatten_dict(values, sep="/")
  return {**variables, sequence_model.TUNED: {"stack": tree}}


def scaled(
  states: Mapping[str, jax.Array], alpha: float, normalize: bool = False
) -> States:
  """Scales trained states for use.

  The final training loss is that of the unscaled states.

  Args:
    states: the trained states.
    alpha: the factor; in the paper 0.07 for Gated DeltaNet and 0.65 for
      Mamba-2.
    normalize: whether to divide each array by its norm first.
  """

  def one(state):
    if normalize:
      norm = jnp.linalg.norm(state.ravel())
      state = state / jnp.where(norm == 0, 1, norm)
    return alpha * state

  return {path: one(state) for path, state in states.items()}


def loss(
  network: nn.SequenceNetwork,
  variables: Mapping[str, PyTree],
  states: Mapping[str, jax.Array],
  tokens: jax.Array,
  scored: jax.Array,
) -> jax.Array:
  """Returns the mean over rows of the mean cross entropy of scored tokens.

  Args:
    network: a token network.
    variables: its variables.
    states: initial states.
    tokens: (rows, time) integers, one document per row, padded at the end.
    scored: (rows, time) bool, the tokens that the loss counts, such as answers;
      the first token of a row has no prediction.
  """
  tuned = attach(network, variables, states)
  logits, _ = network.apply(tuned, tokens[:, :-1])
  each = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
  weight = jnp.asarray(scored)[:, 1:].astype(each.dtype)
  count = jnp.maximum(jnp.sum(weight, axis=-1), 1)
  return jnp.mean(jnp.sum(weight * each, axis=-1) / count)


def tune(
  network: nn.SequenceNetwork,
  variables: Mapping[str, PyTree],
  states: Mapping[str, jax.Array],
  tokens: jax.Array,
  scored: jax.Array,
  recipe: Recipe = Recipe(),
) -> tuple[States, np.ndarray]:
  """Tunes states on a few dozen examples; each update reads all of them.

  Args:
    network: a token network.
    variables: its variables, which are frozen.
    states: initial states, from `parameters`.
    tokens: (rows, time) integers.
    scored: (rows, time) bool.
    recipe: options.

  Returns:
    The states, and the loss before each update, without the penalty.
  """
  optimizer = optax.chain(
    optax.clip_by_global_norm(recipe.clip), optax.adam(recipe.learning_rate)
  )

  def both(states, variables):
    value = loss(network, variables, states, tokens, scored)
    squares = sum(jnp.sum(jnp.square(state)) for state in states.values())
    return value + recipe.penalty * squares, value

  @jax.jit
  def update(states, moments, variables):
    slope, value = jax.grad(both, has_aux=True)(states, variables)
    changes, moments = optimizer.update(slope, moments)
    return optax.apply_updates(states, changes), moments, value

  states = dict(states)
  moments, losses = optimizer.init(states), []
  for _ in range(recipe.updates):
    states, moments, value = update(states, moments, variables)
    losses.append(value)
  return states, np.array(losses)


class File(NamedTuple):
  """Tuned states read from a file.

  Attributes:
    states: states by path.
    base: SHA-256 of the parameters they were tuned for.
  """

  states: States
  base: str


def save(
  path: str | os.PathLike,
  states: Mapping[str, jax.Array],
  variables: Mapping[str, PyTree],
) -> None:
  """Writes states to a file; an existing file is replaced.

  Args:
    path: the file.
    states: from `scaled`.
    variables: the variables they were tuned for.

  Raises:
    OSError: if the file cannot be written.
  """
  tree = traverse_util.unflatten_dict(dict(states), sep="/")
  described = {"base": digest(variables), "paths": sorted(states)}
  described_file.save(path, KIND, described, {"states": tree})


def load(
  path: str | os.PathLike, variables: Mapping[str, PyTree] | None = None
) -> States:
  """Reads states that `save` wrote.

  Args:
    path: the file.
    variables: the variables to use them with; not checked if None.

  Raises:
    ValueError: if it is not a file of initial states or is damaged, or the
      states were tuned for other variables.
    FileNotFoundError: if there is no such file.
  """
  states, base = described_file.load(path, KIND)
  if variables is not None and digest(variables) != base:
    received = "states that were tuned for other parameters"
    raise validate.error(str(path), received, "those of the network's own")
  return states


def digest(variables: Mapping[str, PyTree]) -> str:
  """Returns the SHA-256 of a network's parameters."""
  flat, _ = jax.tree_util.tree_flatten_with_path(variables["params"])
  tensors = {_joined(path): np.asarray(leaf) for path, leaf in flat}
  return described_file.digest({}, tensors)


def _decode(contents):
  """Returns the states and the digest of a file."""
  flat = contents.tensors.items()
  states = {path.removeprefix("states/"): state for path, state in flat}
  if sorted(states) != contents.described["paths"]:
    listed = contents.described["paths"]
    raise validate.error("paths", listed, f"{sorted(states)}")
  base = contents.described["base"]
  validate.instance("base", base, str, "a SHA-256")
  return File({k: jnp.asarray(v) for k, v in states.items()}, base)


KIND = described_file.Kind(
  "file of initial states",
  "adapt.initial_states.save",
  ("base", "paths"),
  _decode,
)


def read_s0(
  directory: str | os.PathLike,
  network: nn.SequenceNetwork,
  variables: Mapping[str, PyTree],
) -> States:
  """Reads states that the s0-tuning package wrote.

  Args:
    directory: contains states.safetensors, one matrix per recurrent layer,
      named by the layer's number among all layers or among the recurrent ones.
    network: a network of the same model.
    variables: its variables.

  Returns:
    States for `scaled`; `config.json` in the directory may contain the factor.

  Raises:
    ValueError: if they are not those of the network.
    FileNotFoundError: if there is no such file.
  """
  path = pathlib.Path(directory) / "states.safetensors"
  tensors = safetensors_file.read(path)
  for name in tensors:
    if not name.isdecimal():
      raise validate.error(f"{path}: name", name, "the number of a layer")
  # In these files Mamba-2 matrices are (heads, headdim, d_state).
  of_layers = {int(name): tensor for name, tensor in tensors.items()}
  return _placed(path, network, variables, of_layers, ("mamba2",))


def read_rwkv(
  path: str | os.PathLike,
  network: nn.SequenceNetwork,
  variables: Mapping[str, PyTree],
) -> States:
  """Reads states of RWKV state tuning, `blocks.N.att.time_state`.

  Args:
    path: a safetensors file; RWKV's `.pth` files can execute Python code:
      convert only files that you trust.
    network: a network of the same model.
    variables: its variables.

  Returns:
    States with the last two axes swapped, as RWKV's own programs swap them
    before use.

  Raises:
    ValueError: if they are not those of the network.
    FileNotFoundError: if there is no such file.
  """
  tensors = {}
  for name, tensor in safetensors_file.read(path).items():
    if match := _TIME_STATE.fullmatch(name):
      tensors[int(match[1])] = tensor
  return _placed(path, network, variables, tensors, ("rwkv7",))


def _placed(path, network, variables, tensors, turned):
  """Returns layer states by path; transposes those of the `turned` mixers."""
  if network.config.stack.scan_layers:
    raise validate.error("scan_layers", True, "False: layers have their own")
  leaves = _tunable(network, variables)
  numbers = {int(place.partition("/")[0]): place for place in leaves}
  places = [numbers[number] for number in sorted(numbers)]
  if set(tensors) == set(range(len(places))):
    numbers = dict(enumerate(places))
  if set(tensors) != set(numbers) or len(leaves) != len(places):
    got = f"states of layers {sorted(tensors)}"
    raise validate.error(str(path), got, f"those of {', '.join(leaves)}")
  states = {}
  for number, tensor in sorted(tensors.items()):
    place = numbers[number]
    state = jnp.asarray(tensor, jnp.float32)
    if leaves[place].mixer in turned:
      state = jnp.swapaxes(state, -1, -2)
    validate.shape(f"{path}: {number}", state, _shape(leaves[place]))
    states[place] = state
  return states
