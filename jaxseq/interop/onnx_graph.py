"""Conversion of JAX programs to ONNX graphs.

    graph = onnx_graph.convert(function, shapes, ("x", "state"), ("y", "next"))
    pathlib.Path("step.onnx").write_bytes(graph.SerializeToString())

A function is traced and its calls are inlined; of branches by platform the
CPU's is used; values that depend on no argument are computed at once; and each
remaining operation becomes one or a few of ONNX's. Loops of a fixed length are
unrolled. Complex numbers, which few ONNX operations accept, are pairs of real
ones; arguments and results must be real.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import partial_eval
import numpy as np

from jaxseq import validate
from jaxseq.interop import _onnx_builder as builder
from jaxseq.interop import _onnx_operations as operations

# Operation set and file version that onnxruntime 1.17 can read.
_OPSET, _IR_VERSION = 20, 9
# Maximum number of unrolled rounds of a loop.
_MOST_ROUNDS = 64
# Primitives that call a jaxpr, and the parameter with it.
_CALLS = {
  "jit": "jaxpr",
  "closed_call": "call_jaxpr",
  "custom_jvp_call": "call_jaxpr",
  "custom_vjp_call": "call_jaxpr",
  "checkpoint": "jaxpr",
}


def convert(
  function: Callable[..., Sequence[jax.Array]],
  shapes: Sequence[jax.ShapeDtypeStruct],
  inputs: Sequence[str],
  outputs: Sequence[str],
) -> Any:
  """Returns an `onnx.ModelProto` of a function, checked by onnx.

  Args:
    function: function from real arrays to a sequence of real arrays.
    shapes: shapes of the arguments. One size may be symbolic; it is the first
      one of the first argument.
    inputs: names of the arguments.
    outputs: names of the results.

  Raises:
    ValueError: if an operation has no counterpart in ONNX.
    ModuleNotFoundError: if the extra "onnx" is not installed.
  """
  try:
    import onnx
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      'graphs are made by the package onnx: pip install "jaxseq[onnx]".',
      name="onnx",
    ) from error
  closed = jax.make_jaxpr(function)(*shapes)
  avals = closed.in_avals, closed.out_avals
  # Removes equations that no result depends on.
  jaxpr, used = partial_eval.dce_jaxpr(
    _without_constants(closed), [True] * len(outputs), instantiate=True
  )
  graph = builder.Builder(inputs[0], shapes[0].shape[0])
  results = _run(graph, jaxpr, closed.consts, inputs)
  for name, value in zip(outputs, results):
    node = onnx.helper.make_node("Identity", [graph.name(value)], [name])
    graph.nodes.append(node)

  def described(names, avals):
    return [
      onnx.helper.make_tensor_value_info(
        name,
        builder.number_of(aval.dtype),
        [size if isinstance(size, int) else str(size) for size in aval.shape],
      )
      for name, aval in zip(names, avals)
    ]

  arrays = graph.arrays.items()
  model = onnx.helper.make_model(
    onnx.helper.make_graph(
      graph.nodes,
      "step",
      described(inputs, avals[0]),
      described(outputs, avals[1]),
      [onnx.numpy_helper.from_array(x, name) for name, x in arrays],
    ),
    opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
    ir_version=_IR_VERSION,
    producer_name="jaxseq",
  )
  onnx.checker.check_model(model, full_check=True)
  return model


def _without_constants(jaxpr):
  """Returns a closed jaxpr's jaxpr, if JAX's version has both."""
  return getattr(jaxpr, "jaxpr", jaxpr)


def _run(graph, jaxpr, constants, arguments):
  """Adds the equations of a jaxpr; returns the values of its results."""
  values = dict(zip(jaxpr.constvars, map(_constant, constants)))
  values |= zip(jaxpr.invars, arguments)

  def read(x):
    if isinstance(x, core.Literal):
      return np.asarray(x.val, x.aval.dtype)
    return values[x]

  for equation in jaxpr.eqns:
    results = _equation(graph, equation, [read(x) for x in equation.invars])
    values.update(zip(equation.outvars, results))
  return [read(x) for x in jaxpr.outvars]


def _call(graph, jaxpr, arguments):
  """Returns the results of a jaxpr, which may have constants."""
  constants = getattr(jaxpr, "consts", ())
  return _run(graph, _without_constants(jaxpr), constants, arguments)


def _constant(x):
  """Converts a constant to a NumPy array, except random keys."""
  keys = jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended)
  return x if keys else np.asarray(x)


def _equation(graph, equation, arguments):
  """Adds one equation; returns the values of its results."""
  primitive, options = equation.primitive, equation.params
  if primitive.name in _CALLS:
    return _call(graph, options[_CALLS[primitive.name]], arguments)
  if primitive.name == "platform_index":
    names = options["platforms"]
    for_cpu = [each is None or "cpu" in each for each in names]
    return [np.asarray(for_cpu.index(True), np.int32)]
  if primitive.name == "cond":
    return _branch(graph, options["branches"], *arguments)
  if primitive.name == "scan":
    return _rounds(graph, options, arguments)
  fixed = all(
    isinstance(size, int) for x in equation.outvars for size in x.aval.shape
  )
  constant = not any(isinstance(x, str | builder.Pair) for x in arguments)
  # Weights in 8 bits are widened in the graph, not in its file.
  if primitive.name == "convert_element_type" and constant:
    fixed = fixed and not _is_widened(arguments[0], options["new_dtype"])
  if fixed and constant:
    results = primitive.bind(*arguments, **primitive.get_bind_params(options))
    results = results if primitive.multiple_results else [results]
    return list(map(_constant, results))
  dtype = equation.outvars[0].aval.dtype
  complex_result = np.issubdtype(dtype, np.complexfloating)
  rule = operations.rule(primitive.name, arguments, complex_result)
  results = rule(graph, equation, *arguments)
  return results if isinstance(results, list) else [results]


def _is_widened(x, dtype):
  """Returns true for an array that takes more memory in this dtype."""
  return np.ndim(x) > 1 and np.dtype(dtype).itemsize > np.asarray(x).itemsize


def _branch(graph, branches, index, *arguments):
  """Returns the results of a branch; of all if the index varies."""
  if not isinstance(index, str):
    index = int(np.clip(index, 0, len(branches) - 1))
    return _call(graph, branches[index], arguments)
  results, *others = (_call(graph, each, arguments) for each in branches)
  for i, other in enumerate(others, 1):
    later = graph.add("GreaterOrEqual", index, np.int32(i))
    pairs = zip(other, results)
    results = [operations.choose(graph, later, *each) for each in pairs]
  return results


def _rounds(graph, options, arguments):
  """Unrolls a loop and returns its results."""
  length = options["length"]
  if length > _MOST_ROUNDS:
    expected = f"at most {_MOST_ROUNDS}"
    raise validate.error("rounds of a loop", length, expected)
  if "num_carry" in options:
    first, count = options["num_consts"], options["num_carry"]
  else:
    sizes = [len(each.vals) for each in options["ft_in"].unpack()]
    first, count = sizes[:2]
  constants, rest = arguments[:first], arguments[first:]
  carry, elements = rest[:count], rest[count:]
  rows: list[Any] = []
  order = range(length)
  for i in reversed(order) if options["reverse"] else order:
    one = [operations.element(graph, x, i) for x in elements]
    results = _call(graph, options["jaxpr"], [*constants, *carry, *one])
    carry = results[:count]
    rows.append(results[count:])
  if options["reverse"]:
    rows.reverse()
  return [*carry, *(operations.stack(graph, each) for each in zip(*rows))]
