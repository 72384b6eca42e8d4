"""Finds random keys that a program uses twice.

`jax.experimental.key_reuse` takes what `fold_in` makes for a fresh key. But
`fold_in(key, i)` is `split(key, n)[i]`, and that is how keys came to be used
twice. So a program is walked here with a name for each key: that of the key it
was made from, and a number. Keys of one name are the same, however they were
made.
"""

from collections.abc import Callable
from collections.abc import Sequence
import itertools
from typing import Any

import jax
from jax._src import source_info_util
import numpy as np

_DRAWS = ("random_bits", "random_gamma")
_CALLS = (
  "call",
  "checkpoint",
  "closed_call",
  "core_call",
  "custom_jvp_call",
  "custom_vjp_call",
  "custom_vjp_call_jaxpr",
  "jit",
  "pjit",
  "remat2",
  "shard_map",
)
# What only moves keys about, which is done to the numbers of their names.
_MOVES = (
  "broadcast_in_dim",
  "concatenate",
  "expand_dims",
  "iota",
  "reshape",
  "rev",
  "slice",
  "squeeze",
  "transpose",
  "unstack",
)
_KEEPS = (
  "convert_element_type",
  "copy",
  "copy_p",
  "device_put",
  "optimization_barrier",
  "random_clone",
  "reshard",
  "sharding_constraint",
)


class KeyReuseError(Exception):
  """A key is used twice."""


def check(function: Callable[..., Any], *args: Any) -> int:
  """Walks what a function does, traced.

  Of a loop two rounds are walked. Branches exclude each other: a key that is
  used in one may be used in the other.

  Args:
    function: of pytrees; keys in different places of its arguments differ.
    *args: its arguments, or their shapes.

  Returns:
    From how many keys numbers are drawn.

  Raises:
    KeyReuseError: if numbers are drawn from a key twice; or from a key that
      others are made from; or if a key is split as well as folded with a number
      that is not known; or if a key that was made and used is returned.
  """
  closed = jax.make_jaxpr(function)(*args)
  walk = _Walk()
  values = [walk.fresh(v.aval) for v in closed.jaxpr.invars]
  given = len(walk.origins)
  results = walk.run(closed.jaxpr, closed.consts, values)
  for variable, result in zip(closed.jaxpr.outvars, results):
    if _is_key(variable.aval):
      for key in map(int, np.ravel(result)):
        if key >= given and key in walk.drawn | walk.split | walk.folded:
          raise KeyReuseError("A key that was used is returned.")
  return len(walk.drawn)


def _is_key(aval: Any) -> bool:
  dtype = getattr(aval, "dtype", None)
  return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)


def _inner(equation: Any) -> list[tuple[Any, Sequence[Any]]]:
  """Returns the jaxprs in the parameters of an equation, and their consts."""

  def is_jaxpr(leaf):
    return hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")

  return [
    (getattr(leaf, "jaxpr", leaf), getattr(leaf, "consts", ()))
    for leaf in jax.tree.leaves(equation.params, is_leaf=is_jaxpr)
    if is_jaxpr(leaf)
  ]


def _draws(jaxpr: Any) -> bool:
  """Returns whether numbers are drawn anywhere in a jaxpr."""
  return any(
    equation.primitive.name.startswith("random_")
    or any(_draws(inner) for inner, _ in _inner(equation))
    for equation in jaxpr.eqns
  )


def _forget(values: Sequence[Any], avals: Sequence[Any]) -> list[Any]:
  """Returns values without what is known of numbers at a loop's start."""
  pairs = zip(values, avals)
  return [x if _is_key(aval) else object() for x, aval in pairs]


class _Walk:
  """The names of keys, and what was done with the keys.

  What stands for the value of a variable is an array of numbers of names if it
  holds keys; else an array if the value is known, and otherwise some object.
  """

  def __init__(self):
    self.numbers = {}  # Of names.
    self.origins = []  # By number.
    self.drawn, self.split, self.folded = {}, {}, {}  # Where, by number.
    self.values = {}  # Objects by what is computed.
    self.unknown = itertools.count()
    self.where = ""

  def name(self, origin: Any) -> int:
    """Returns the number of the key of an origin."""
    number = self.numbers.setdefault(origin, len(self.origins))
    if number == len(self.origins):
      self.origins.append(origin)
    return number

  def fresh(self, aval: Any) -> Any:
    """Returns what stands for something of which nothing is known."""
    if not _is_key(aval):
      return object()
    made = [self.name(("new", next(self.unknown))) for _ in range(aval.size)]
    return np.array(made, np.int64).reshape(aval.shape)

  def run(self, jaxpr: Any, consts: Sequence, values: Sequence) -> list[Any]:
    """Walks a jaxpr; returns what stands for its results."""
    env = dict(zip(jaxpr.constvars, consts)) | dict(zip(jaxpr.invars, values))

    def read(variable):
      if hasattr(variable, "val"):
        return np.asarray(variable.val)
      return env[variable]

    for equation in jaxpr.eqns:
      results = self.equation(equation, [read(v) for v in equation.invars])
      env |= dict(zip(equation.outvars, results))
    return [read(v) for v in jaxpr.outvars]

  def equation(self, equation: Any, args: list[Any]) -> Sequence[Any]:
    """Walks an equation; returns what stands for its results."""
    kind, params = equation.primitive.name, equation.params
    outputs = [v.aval for v in equation.outvars]
    # What JAX has traced before may not say where.
    where = source_info_util.summarize(equation.source_info) or self.where
    self.where = where
    inner = _inner(equation)
    if kind == "scan":
      return self.scan(inner[0], params, args, outputs)
    if kind == "while":
      return self.loop(params, args)
    if kind == "cond":
      return self.branches(inner, args[1:], outputs)
    if kind in _CALLS and inner and not params.get("differentiated"):
      return self.run(*inner[0], args)
    if params.get("differentiated"):
      # The same numbers are drawn again on purpose.
      return [self.fresh(aval) for aval in outputs]
    if any(_draws(jaxpr) for jaxpr, _ in inner):
      raise NotImplementedError(f"{kind} at {where}")
    if kind == "random_split":
      return [self.children(args[0], params["shape"], where)]
    if kind == "random_fold_in":
      return [self.fold(*args, outputs[0].shape, where)]
    if kind in _DRAWS:
      self.draw(args[0], where)
    if kind in _KEEPS:
      return args
    known = all(isinstance(arg, np.ndarray) for arg in args)
    if kind in _MOVES and known:
      done = equation.primitive.bind(*args, **params)
      done = done if equation.primitive.multiple_results else [done]
      return [np.asarray(x) for x in done]
    if any(map(_is_key, outputs)):
      # Made from words, or one of several: which one is not known.
      return [self.fresh(aval) for aval in outputs]
    # The same numbers from the same numbers.
    computed = (kind, repr(params), *map(self.identity, args))
    return [
      self.values.setdefault((*computed, i), object())
      for i in range(len(outputs))
    ]

  def identity(self, value: Any) -> Any:
    """Returns what is the same for values that are."""
    if isinstance(value, np.ndarray) and value.size < 1000:
      return value.dtype.name, value.shape, value.tobytes()
    # Kept, so that no other object gets its place.
    self.values["kept", id(value)] = value
    return id(value)

  def scan(self, body, params, args, outputs):
    """Walks two rounds of a scan."""
    if "num_consts" in params:
      consts, carry = params["num_consts"], params["num_carry"]
    else:
      consts, carry, _ = (len(g) for g in params["ft_in"].unpack())
    fixed, state, xs = (
      args[:consts],
      args[consts : consts + carry],
      args[consts + carry :],
    )
    avals = [v.aval for v in body[0].invars]
    state = _forget(state, avals[consts:])
    rounds = []
    for i in range(min(params["length"], 2)):
      each = [
        x[i] if _is_key(aval) else object()
        for x, aval in zip(xs, avals[consts + carry :])
      ]
      results = self.run(*body, [*fixed, *state, *each])
      state = results[:carry]
      rounds.append(results[carry:])
    stacked = []
    for j, aval in enumerate(outputs[carry:]):
      made = self.fresh(aval)
      if _is_key(aval):
        for i, results in enumerate(rounds):
          made[i] = results[j]
      stacked.append(made)
    return [*state, *stacked]

  def loop(self, params, args):
    """Walks two rounds of a while loop."""
    of_cond, of_body = params["cond_nconsts"], params["body_nconsts"]
    body = params["body_jaxpr"]
    avals = [v.aval for v in getattr(body, "jaxpr", body).invars]
    state = _forget(args[of_cond + of_body :], avals[of_body:])
    for _ in range(2):
      for name, fixed in (
        ("cond", args[:of_cond]),
        ("body", args[of_cond : of_cond + of_body]),
      ):
        closed = params[f"{name}_jaxpr"]
        jaxpr = getattr(closed, "jaxpr", closed)
        consts = getattr(closed, "consts", ())
        results = self.run(jaxpr, consts, [*fixed, *state])
      state = results
    return state

  def branches(self, inner, args, outputs):
    """Walks the branches of a cond, each as if there were no other."""
    before = self.drawn, self.split, self.folded
    after, results = [{}, {}, {}], []
    for branch in inner:
      self.drawn, self.split, self.folded = (dict(x) for x in before)
      results.append(self.run(*branch, args))
      for whole, x in zip(after, (self.drawn, self.split, self.folded)):
        whole |= x
    self.drawn, self.split, self.folded = after
    made = [self.fresh(aval) for aval in outputs]
    for i, aval in enumerate(outputs):
      first, *others = (each[i] for each in results)
      if _is_key(aval) and all(np.array_equal(first, x) for x in others):
        made[i] = first
    return made

  def children(self, parents, shape, where):
    """Splits keys."""
    made = np.zeros((*parents.shape, int(np.prod(shape))), np.int64)
    for place in np.ndindex(parents.shape):
      self.use(int(parents[place]), self.split, where)
      for i in range(made.shape[-1]):
        made[*place, i] = self.name((int(parents[place]), i))
    return made.reshape(*parents.shape, *shape)

  def fold(self, parents, number, shape, where):
    """Folds numbers into keys."""
    parents = np.broadcast_to(parents, shape)
    known = isinstance(number, np.ndarray)
    made = np.zeros(shape, np.int64)
    for place in np.ndindex(*shape):
      parent = int(parents[place])
      self.use(parent, self.split if known else self.folded, where)
      origin = (self.identity(number), place)
      if known:
        origin = int(np.broadcast_to(number, shape)[place])
      made[place] = self.name((parent, origin))
    return made

  def use(self, key, done, where):
    """Notes that others are made from a key."""
    done.setdefault(key, where)
    if key in self.drawn:
      raise KeyReuseError(
        f"Numbers are drawn from a key at {self.drawn[key]}, and others are "
        f"made from it at {where}."
      )
    if key in self.split and key in self.folded:
      raise KeyReuseError(
        f"A key is split, or folded with a known number, at {self.split[key]} "
        f"and folded with one that is not known at {self.folded[key]}."
      )

  def draw(self, keys, where):
    """Notes that numbers are drawn from keys."""
    for key in map(int, np.ravel(keys)):
      for done in (self.drawn, self.split, self.folded):
        if key in done:
          raise KeyReuseError(
            f"Numbers are drawn at {where} from a key that was used at "
            f"{done[key]}."
          )
      self.drawn[key] = where
