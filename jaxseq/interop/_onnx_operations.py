"""Rules that convert JAX operations to ONNX operations.

A value is the name of a tensor of the graph, a NumPy array if it depends on no
input, or, for complex numbers, a `Pair` of these. A rule takes the graph, an
equation, and the values of its arguments; it returns the value of its result,
or a list of values.
"""

from collections.abc import Callable
from collections.abc import Sequence
import string
from typing import Any

import numpy as np

from jaxseq.interop._onnx_builder import Builder
from jaxseq.interop._onnx_builder import Pair

Rule = Callable[..., Any]


def rule(name: str, arguments: Sequence[Any], complex_result: bool) -> Rule:
  """Returns the rule of a primitive.

  Args:
    name: name of the primitive.
    arguments: the values of its arguments.
    complex_result: whether results are complex.

  Raises:
    ValueError: if it has no rule.
  """
  rules = RULES
  if complex_result or any(map(_is_complex, arguments)):
    rules = _COMPLEX | {name: _by_parts(RULES[name]) for name in _OF_PLACES}
  if name not in rules:
    numbers = "" if rules is RULES else " of complex numbers"
    raise ValueError(f"{name}{numbers}: has no counterpart in ONNX here")
  return rules[name]


def part(x: Any, i: int) -> Any:
  """Returns the real (0) or imaginary (1) part; real numbers unchanged."""
  if isinstance(x, Pair):
    return x[i]
  if not np.iscomplexobj(x):
    return x
  return np.ascontiguousarray((np.real, np.imag)[i](x))


def element(g: Builder, x: Any, i: int, axis: int = 0) -> Any:
  """Returns the element i of a value along an axis."""
  if isinstance(x, np.ndarray):
    return np.take(x, i, axis)
  if isinstance(x, Pair):
    return Pair(*(element(g, each, i, axis) for each in x))
  return g.add("Gather", x, np.int64(i), axis=axis)


def stack(g: Builder, values: Sequence[Any], axis: int = 0) -> Any:
  """Stacks values of one shape along a new axis."""
  if any(map(_is_complex, values)):
    return Pair(*(stack(g, [part(x, i) for x in values], axis) for i in (0, 1)))
  wide = [g.add("Unsqueeze", x, np.array([axis], np.int64)) for x in values]
  return g.add("Concat", *wide, axis=axis) if len(wide) > 1 else wide[0]


def choose(g: Builder, flag: Any, x: Any, y: Any) -> Any:
  """Selects x if the flag is true, else y."""
  if _is_complex(x) or _is_complex(y):
    pairs = ((part(x, i), part(y, i)) for i in (0, 1))
    return Pair(*(choose(g, flag, *each) for each in pairs))
  return g.add("Where", flag, x, y)


def _is_complex(x) -> bool:
  return isinstance(x, Pair) or np.iscomplexobj(x)


def _shape(e, i=0):
  """Returns the shape of an argument."""
  return e.invars[i].aval.shape


def _number(e, value):
  """Returns a number in the dtype of the first argument."""
  return np.asarray(value, e.invars[0].aval.dtype)


def _node(kind, **options):
  """Returns the rule of a primitive with a single ONNX operation."""
  return lambda g, e, *x: g.add(kind, *x, **options)


def _same(g, e, *x):
  return list(x)


def _expm1(g, e, x):
  # Accurate near 0, unlike exp(x) - 1.
  half = g.add("Tanh", g.add("Mul", x, _number(e, 0.5)))
  return g.add("Mul", half, g.add("Add", g.add("Exp", x), _number(e, 1)))


def _log1p(g, e, x):
  # Accurate near 0, too; far from 0 the ratio loses its digits.
  ratio = g.add("Div", x, g.add("Add", x, _number(e, 2)))
  near = g.add("Mul", g.add("Atanh", ratio), _number(e, 2))
  far = g.add("Log", g.add("Add", x, _number(e, 1)))
  is_near = g.add("Less", g.add("Abs", x), _number(e, 0.5))
  return g.add("Where", is_near, near, far)


def _atan2(g, e, y, x):
  least = _number(e, np.finfo(np.float32).tiny)
  slope = g.add("Div", g.add("Abs", y), g.add("Max", g.add("Abs", x), least))
  angle, zero = g.add("Atan", slope), _number(e, 0)
  back = g.add("Sub", _number(e, np.pi), angle)
  angle = g.add("Where", g.add("Less", x, zero), back, angle)
  return g.add("Where", g.add("Less", y, zero), g.add("Neg", angle), angle)


def _integer_pow(g, e, x):
  if e.params["y"] == 2:
    return g.add("Mul", x, x)
  return g.add("Pow", x, _number(e, e.params["y"]))


def _is_finite(g, e, x):
  return g.add("Not", g.add("Or", g.add("IsInf", x), g.add("IsNaN", x)))


def _round(g, e, x):
  if int(e.params["rounding_method"]) == 1:
    return g.add("Round", x)
  size = g.add("Floor", g.add("Add", g.add("Abs", x), _number(e, 0.5)))
  return g.add("Mul", g.add("Sign", x), size)


def _select(g, e, index, *cases):
  if e.invars[0].aval.dtype == np.bool_:
    if e.outvars[0].aval.dtype == np.bool_:
      # ONNX Runtime has Where only for numbers.
      no, yes = g.add("And", g.add("Not", index), cases[0]), cases[1]
      return g.add("Or", no, g.add("And", index, yes))
    return g.add("Where", index, cases[1], cases[0])
  result = cases[0]
  for i, case in enumerate(cases[1:], 1):
    later = g.add("GreaterOrEqual", index, np.int32(i))
    result = g.add("Where", later, case, result)
  return result


def _convert(g, e, x):
  same = e.invars[0].aval.dtype == e.params["new_dtype"]
  return x if same else g.cast(x, e.params["new_dtype"])


def _broadcast(g, e, x):
  shape = e.params["shape"]
  sizes = dict(zip(e.params["broadcast_dimensions"], _shape(e)))
  x = g.reshape(x, [sizes.get(i, 1) for i in range(len(shape))])
  return g.add("Expand", x, g.shape(shape))


def _reshape(g, e, x):
  return g.reshape(x, e.outvars[0].aval.shape)


def _slice(g, e, x):
  steps = e.params["strides"] or [1] * len(_shape(e))
  ends = e.params["limit_indices"]
  for i, start in enumerate(e.params["start_indices"]):
    if start or steps[i] != 1 or ends[i] != _shape(e)[i]:
      x = g.cut(x, i, start, ends[i], steps[i])
  return x


def _dynamic_slice(g, e, x, *starts):
  for i, size in enumerate(e.params["slice_sizes"]):
    if size != _shape(e)[i]:
      last = np.asarray(_shape(e)[i] - size, e.invars[1 + i].aval.dtype)
      start = g.add("Max", g.add("Min", starts[i], last), last * 0)
      start = g.reshape(g.cast(start, np.int64), (1,))
      end = g.add("Add", start, np.array([size], np.int64))
      x = g.add("Slice", x, start, end, np.array([i], np.int64))
  return x


def _dynamic_update_slice(g, e, x, update, *starts):
  whole, size = _shape(e), _shape(e, 1)
  axes = [i for i in range(len(whole)) if whole[i] != size[i]]
  if not axes:
    return update
  if len(axes) > 1 or isinstance(starts[axes[0]], str):
    raise ValueError("dynamic_update_slice: its place is known too late")
  (axis,) = axes
  start = int(np.clip(starts[axis], 0, whole[axis] - size[axis]))
  end = start + size[axis]
  before = [g.cut(x, axis, 0, start)] if start else []
  after = [g.cut(x, axis, end, whole[axis])] if end < whole[axis] else []
  return g.add("Concat", *before, update, *after, axis=axis)


def _gather(g, e, x, places):
  numbers, sizes = e.params["dimension_numbers"], e.params["slice_sizes"]
  axes, shape = numbers.start_index_map, _shape(e)
  if isinstance(places, np.ndarray) and places.ndim == 1:
    # A single slice at a known place.
    for axis, start in zip(axes, places):
      if sizes[axis] != shape[axis]:
        start = int(np.clip(start, 0, shape[axis] - sizes[axis]))
        x = g.cut(x, axis, start, start + sizes[axis])
    return _reshape(g, e, x)
  # Rows along an axis, of one table or of one for each leading index.
  axis, count = axes[0], len(_shape(e, 1)) - 1
  ndim = len(e.outvars[0].aval.shape)
  kept = tuple(i for i in range(ndim) if not axis <= i < axis + count)
  front = numbers.operand_batching_dims
  behind = set(range(len(shape))) - {axis, *front}
  rows = axes == numbers.collapsed_slice_dims == (axis,)
  if rows and all(sizes[i] == shape[i] for i in behind):
    if not front and numbers.offset_dims == kept:
      return g.add("Gather", x, g.reshape(places, _shape(e, 1)[:-1]), axis=axis)
    same = front == numbers.start_indices_batching_dims == tuple(range(axis))
    if same and numbers.offset_dims == tuple(range(count, ndim)):
      return g.add("GatherND", x, g.cast(places, np.int64), batch_dims=axis)
  raise ValueError("gather: has no counterpart in ONNX here")


def _split(g, e, x):
  sizes = np.array([int(size) for size in e.params["sizes"]], np.int64)
  if len(sizes) == 1:
    return [x]
  axis = e.params["axis"]
  return g.add("Split", x, sizes, outputs=len(sizes), axis=axis)


def _unstack(g, e, x):
  return [element(g, x, i, e.params["axis"]) for i in range(len(e.outvars))]


def _pad(g, e, x, value):
  low, high, inside = zip(*e.params["padding_config"])
  if any(inside) or min(low + high) < 0:
    raise ValueError("pad: has no counterpart in ONNX here")
  return g.add("Pad", x, np.array(low + high, np.int64), value)


def _reverse(g, e, x):
  for axis in e.params["dimensions"]:
    x = g.cut(x, axis, -1, np.iinfo(np.int64).min, -1)
  return x


def _reduce(kind):
  def reduce(g, e, x):
    flags = e.invars[0].aval.dtype == np.bool_
    x = g.cast(x, np.int32) if flags else x
    x = g.add(kind, x, np.array(e.params["axes"], np.int64), keepdims=0)
    return g.cast(x, np.bool_) if flags else x

  return reduce


def _arg(kind):
  def place(g, e, x):
    x = g.add(kind, x, axis=e.params["axes"][0], keepdims=0)
    return g.cast(x, e.params["index_dtype"])

  return place


def _top_k(g, e, x):
  count = np.array([e.params["k"]], np.int64)
  axis = e.params.get("axis", len(_shape(e)) - 1)
  values, places = g.add("TopK", x, count, outputs=2, axis=axis)
  return [values, g.cast(places, e.outvars[1].aval.dtype)]


def _cumsum(g, e, x):
  axis, back = np.int64(e.params["axis"]), int(e.params["reverse"])
  return g.add("CumSum", x, axis, reverse=back)


def _cummax(g, e, x):
  axis, step = e.params["axis"], 1
  size = _shape(e)[axis]
  if e.params["reverse"]:
    raise ValueError("cummax: has no counterpart in ONNX here that goes back")
  # Maxima over 2, 4, 8, .. elements.
  while step < size:
    first = g.cut(x, axis, 0, step)
    last, before = g.cut(x, axis, step, size), g.cut(x, axis, 0, size - step)
    x = g.add("Concat", first, g.add("Max", last, before), axis=axis)
    step *= 2
  return x


def _dot(g, e, x, y):
  (left, right), (left_batch, right_batch) = e.params["dimension_numbers"]
  ndims = len(_shape(e)), len(_shape(e, 1))
  wide = e.params["preferred_element_type"]
  if wide is not None and wide != e.invars[0].aval.dtype and not _is_complex(x):
    x, y = g.cast(x, wide), g.cast(y, wide)
  plain = not left_batch and ndims[1] == 2 and right == (0,)
  if plain and left == (ndims[0] - 1,):
    return g.add("MatMul", x, y)
  letters = iter(string.ascii_lowercase)
  first = [next(letters) for _ in range(ndims[0])]
  second = [next(letters) for _ in range(ndims[1])]
  for i, j in zip((*left, *left_batch), (*right, *right_batch)):
    second[j] = first[i]
  batch = [first[i] for i in left_batch]
  common = set(first) & set(second)
  result = batch + [c for c in (*first, *second) if c not in common]
  words = ("".join(each) for each in (first, second, result))
  return g.add("Einsum", x, y, equation="{},{}->{}".format(*words))


def _convolution(g, e, x, kernel):
  options, numbers = e.params, e.params["dimension_numbers"]
  if set(options["lhs_dilation"]) != {1} or options["batch_group_count"] != 1:
    raise ValueError("conv_general_dilated: has no counterpart in ONNX here")
  low, high = zip(*options["padding"])
  y = g.add(
    "Conv",
    g.add("Transpose", x, perm=numbers.lhs_spec),
    g.add("Transpose", kernel, perm=numbers.rhs_spec),
    strides=options["window_strides"],
    pads=(*low, *high),
    dilations=options["rhs_dilation"],
    group=options["feature_group_count"],
  )
  return g.add("Transpose", y, perm=np.argsort(numbers.out_spec).tolist())


def _products(one):
  """Returns the complex rule of a bilinear operation."""

  def both(g, e, x, y):
    (a, b), (c, d) = ([part(z, i) for i in (0, 1)] for z in (x, y))
    real = g.add("Sub", one(g, e, a, c), one(g, e, b, d))
    return Pair(real, g.add("Add", one(g, e, a, d), one(g, e, b, c)))

  return both


def _by_parts(one):
  """Returns the complex rule of an operation that acts on each part."""

  def both(g, e, *x):
    results = [one(g, e, *[part(each, i) for each in x]) for i in (0, 1)]
    if isinstance(results[0], list):
      return [Pair(*each) for each in zip(*results)]
    return Pair(*results)

  return both


def _size(g, x):
  """Returns the squared absolute values of complex numbers."""
  return g.add("Add", *(g.add("Mul", *[part(x, i)] * 2) for i in (0, 1)))


def _complex_exp(g, e, x):
  size, angle = g.add("Exp", part(x, 0)), part(x, 1)
  return Pair(*(g.add("Mul", size, g.add(k, angle)) for k in ("Cos", "Sin")))


def _complex_div(g, e, x, y):
  size = _size(g, y)
  inverse = Pair(part(y, 0), g.add("Neg", part(y, 1)))
  product = _COMPLEX["mul"](g, e, x, inverse)
  return Pair(*(g.add("Div", each, size) for each in product))


def _complex_convert(g, e, x):
  if _is_complex(x):
    wanted = np.issubdtype(e.params["new_dtype"], np.complexfloating)
    return x if wanted else part(x, 0)
  zero = g.add("Expand", np.float32(0), g.add("Shape", x))
  return Pair(g.cast(x, np.float32), zero)


# Single ONNX operations with the same capitalized name, or with another.
_SAME_NAME = """
  abs ceil cos erf exp floor log neg not sign sin sqrt tan tanh
  add sub mul div pow max min and or xor
""".split()
_PLAIN = {name: name.capitalize() for name in _SAME_NAME} | {
  "logistic": "Sigmoid",
  "eq": "Equal",
  "gt": "Greater",
  "lt": "Less",
  "ge": "GreaterOrEqual",
  "le": "LessOrEqual",
}
RULES: dict[str, Rule] = {
  **{name: _node(kind) for name, kind in _PLAIN.items()},
  **dict.fromkeys(("squeeze", "reshape", "expand_dims"), _reshape),
  **dict.fromkeys(
    ("stop_gradient", "optimization_barrier", "copy", "copy_p"), _same
  ),
  "argmax": _arg("ArgMax"),
  "argmin": _arg("ArgMin"),
  "atan2": _atan2,
  "broadcast_in_dim": _broadcast,
  "clamp": lambda g, e, a, x, b: g.add("Min", g.add("Max", x, a), b),
  "concatenate": lambda g, e, *x: g.add(
    "Concat", *x, axis=e.params["dimension"]
  ),
  "conv_general_dilated": _convolution,
  "convert_element_type": _convert,
  "cummax": _cummax,
  "cumsum": _cumsum,
  "dim_as_value": lambda g, e: g.reshape(
    g.cast(g.size(e.params["dim"]), np.int32), ()
  ),
  "dot_general": _dot,
  "dynamic_slice": _dynamic_slice,
  "dynamic_update_slice": _dynamic_update_slice,
  "expm1": _expm1,
  "gather": _gather,
  "integer_pow": _integer_pow,
  "is_finite": _is_finite,
  "log1p": _log1p,
  "ne": lambda g, e, x, y: g.add("Not", g.add("Equal", x, y)),
  "pad": _pad,
  "reduce_and": _reduce("ReduceMin"),
  "reduce_max": _reduce("ReduceMax"),
  "reduce_min": _reduce("ReduceMin"),
  "reduce_or": _reduce("ReduceMax"),
  "reduce_prod": _reduce("ReduceProd"),
  "reduce_sum": _reduce("ReduceSum"),
  "rem": _node("Mod", fmod=1),
  "rev": _reverse,
  "round": _round,
  "rsqrt": lambda g, e, x: g.add("Reciprocal", g.add("Sqrt", x)),
  "select_n": _select,
  "slice": _slice,
  "split": _split,
  "square": lambda g, e, x: g.add("Mul", x, x),
  "stack": lambda g, e, *x: stack(g, x, e.params["axis"]),
  "tile": lambda g, e, x: g.add(
    "Tile", x, np.array(e.params["reps"], np.int64)
  ),
  "top_k": _top_k,
  "transpose": lambda g, e, x: g.add(
    "Transpose", x, perm=e.params["permutation"]
  ),
  "unstack": _unstack,
}
# Operations that act on each part of complex numbers separately.
_OF_PLACES = (
  *("add", "sub", "neg", "select_n", "reduce_sum", "cumsum", "stack"),
  *("broadcast_in_dim", "concatenate", "dynamic_slice", "gather", "reshape"),
  *("dynamic_update_slice", "rev", "slice", "split", "squeeze", "tile"),
  *("transpose", "unstack", "stop_gradient", "optimization_barrier", "copy"),
)
_COMPLEX: dict[str, Rule] = {
  "abs": lambda g, e, x: g.add("Sqrt", _size(g, x)),
  "complex": lambda g, e, x, y: Pair(x, y),
  "conj": lambda g, e, x: Pair(part(x, 0), g.add("Neg", part(x, 1))),
  "convert_element_type": _complex_convert,
  "div": _complex_div,
  "dot_general": _products(_dot),
  "exp": _complex_exp,
  "imag": lambda g, e, x: part(x, 1),
  "mul": _products(_node("Mul")),
  "real": lambda g, e, x: part(x, 0),
  "square": lambda g, e, x: _COMPLEX["mul"](g, e, x, x),
}
