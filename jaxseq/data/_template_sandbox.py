"""A jinja2 sandbox for chat templates, with a budget of steps.

Templates are programs that others wrote. The sandbox of jinja2 hides attributes
from them; here every loop, call, filter and operation is paid for beforehand,
see `_template_costs`, and a template that exceeds its budget ends with one
sentence. The module is imported when a template is compiled: jinja2 is an
extra.
"""

from collections.abc import Iterator
import contextlib
import contextvars
import datetime
import functools
import json
from typing import Any

import jinja2
from jinja2 import ext
from jinja2 import nodes
from jinja2 import runtime
from jinja2 import sandbox
from jinja2 import visitor

from jaxseq.data import _template_costs

# Variable with the mark of the ends of answers during rendering.
MARK = "_generation_mark"
_SIGNS = frozenset(("+", "-", "*", "/", "//", "%", "**"))
# Tests whose time grows with their values.
_COMPARISONS = (
  *("==", "eq", "equalto", "!=", "ne", ">", "gt", "greaterthan", ">=", "ge"),
  *("<", "lt", "lessthan", "<=", "le", "in", "lower", "upper"),
)
# Filters that consume iterators lazily.
_LAZY = frozenset(
  (
    *("map", "select", "reject", "selectattr", "rejectattr", "list", "first"),
    *("default", "d"),
  )
)
# Callables that do not read their arguments, such as `namespace` and macros.
_CHEAP = (runtime.Macro, type)
_VALUES = (str, bytes, int, float, list, tuple, dict)


class _Budget:
  """A number of units and its remainder."""

  def __init__(self, units):
    self.units = self.left = units

  def charge(self, units: int) -> None:
    """Subtracts units; raises TemplateError if too few are left."""
    self.left -= units
    if self.left < 0:
      raise jinja2.TemplateError(
        f"it takes more than {self.units} steps, the most for a chat as long "
        "as this"
      )


# Budget of the current rendering. Compilation has no budget, and computes
# nothing.
_BUDGET: contextvars.ContextVar[_Budget] = contextvars.ContextVar("budget")


@contextlib.contextmanager
def budget(units: int) -> Iterator[None]:
  """Bounds the units of templates within a `with` block."""
  token = _BUDGET.set(_Budget(units))
  try:
    yield
  finally:
    _BUDGET.reset(token)


def _charge(units):
  _BUDGET.get().charge(units)


def _paid(value):
  """Charges the units of a value, and returns it."""
  budget = _BUDGET.get()
  budget.charge(1 + _template_costs.of(value, budget.left))
  return value


def _part(value):
  """Charges the units of a slice without its elements, and returns it."""
  _charge(1 + (len(value) >> 6 if hasattr(value, "__len__") else 0))
  return value


def _step(value):
  """Charges the unit of a loop step, and returns the value."""
  _BUDGET.get().charge(1)
  return value


def _counted(values):
  """Yields the elements of an iterator, charging a unit for each."""
  charge = _BUDGET.get().charge
  for value in values:
    charge(1)
    yield value


def _listed(value):
  """Converts an iterator to a list; returns other values unchanged."""
  return list(_counted(value)) if hasattr(value, "__next__") else value


class _Sandbox(sandbox.ImmutableSandboxedEnvironment):
  """The sandbox, which charges for operations and calls."""

  intercepted_binops = _SIGNS

  def call_binop(self, context, operator, left, right):
    budget = _BUDGET.get()
    cost = _template_costs.operation(operator, left, right, budget.left)
    budget.charge(1 + cost)
    return super().call_binop(context, operator, left, right)

  def call(self, context, obj, /, *args, **options):
    budget = _BUDGET.get()
    count = len(args) + len(options)
    # `str.format` is wrapped by jinja2.
    method = getattr(obj, "__wrapped__", obj)
    receiver, name = getattr(method, "__self__", None), ""
    if isinstance(receiver, _VALUES):
      name = method.__name__
      args = [_listed(x) for x in args]
      count += _template_costs.method(
        receiver, name, args, options, budget.left
      )
    elif not isinstance(obj, _CHEAP):
      # Other callables read their arguments once.
      count += _template_costs.of([args, options], budget.left)
    budget.charge(1 + count)
    return super().call(context, obj, *args, **options)

  def getitem(self, obj, argument):
    if isinstance(argument, tuple):
      _paid(argument)
    return super().getitem(obj, argument)

  @staticmethod
  def concat(parts):
    charge, whole = _BUDGET.get().charge, []
    for part in parts:
      charge(1 + (len(part) >> 6))
      whole.append(part)
    return "".join(whole)


def _filter(name, function):
  """Wraps a filter so that it is charged for."""
  first = int(hasattr(function, "jinja_pass_arg"))
  change = _counted if name in _LAZY else _listed

  @functools.wraps(function)
  def paid(*args, **options):
    budget = _BUDGET.get()
    values = [change(x) if hasattr(x, "__next__") else x for x in args[first:]]
    cost = _template_costs.filtered(name, values, options, budget.left)
    budget.charge(1 + cost)
    return function(*args[:first], *values, **options)

  return paid


def _test(function):
  """Wraps a test so that it is charged for."""

  @functools.wraps(function)
  def paid(*args):
    return function(*map(_paid, args))

  return paid


class _Payments(visitor.NodeTransformer):
  """Adds charges to loops, slices and literals, which call no method."""

  def visit_For(self, node):
    node = self.generic_visit(node)
    step = nodes.ExprStmt(_call("_step", nodes.Const(None)))
    node.body.insert(0, step.set_lineno(node.lineno))
    if node.test is not None:
      node.test = _call("_step", node.test)
    return node

  def visit_Concat(self, node):
    node = self.generic_visit(node)
    node.nodes = [_call("_paid", each) for each in node.nodes]
    return node

  def visit_Compare(self, node):
    node = self.generic_visit(node)
    plain = isinstance(node.expr, nodes.Const)
    plain |= isinstance(node.ops[0].expr, nodes.Const)
    if not (plain and len(node.ops) == 1 and "in" not in node.ops[0].op):
      node.expr = _call("_paid", node.expr)
      for each in node.ops:
        each.expr = _call("_paid", each.expr)
    return node

  def visit_Getitem(self, node):
    node = self.generic_visit(node)
    return _call("_part", node) if isinstance(node.arg, nodes.Slice) else node

  def visit_List(self, node):
    return _call("_paid", self.generic_visit(node))

  visit_Dict = visit_List

  def visit_Tuple(self, node):
    node = self.generic_visit(node)
    # Targets of assignments cost nothing.
    return _call("_paid", node) if node.ctx == "load" else node


def _call(name, node):
  """The syntax node that applies a filter of this module."""
  if isinstance(node, nodes.Const) and name == "_paid":
    return node
  return nodes.Filter(node, name, [], [], None, None).set_lineno(node.lineno)


class _Generation(ext.Extension):
  """The block `generation`, with marks at its ends."""

  tags = frozenset({"generation"})

  def parse(self, parser):
    line = next(parser.stream).lineno
    body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
    mark = nodes.Name(MARK, "load")
    call = self.call_method("marked", [mark])
    return nodes.CallBlock(call, [], [], body).set_lineno(line)

  def marked(self, mark, caller):
    return f"{mark}<{caller()}{mark}>"


def _refuse(message):
  raise jinja2.TemplateError(message)


def _as_json(value, ensure_ascii=False, **options):
  # The filter of jinja2 escapes for HTML.
  return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def compiled(template: str) -> jinja2.Template:
  """Compiles a template for the sandbox; may raise any exception."""
  environment = _environment()
  tree = _Payments().visit(environment.parse(template))
  code = environment.compile(tree)
  return environment.template_class.from_code(
    environment, code, environment.make_globals(None)
  )


@functools.cache
def _environment() -> Any:
  """The sandbox, with the extensions and functions that templates expect."""
  environment = _Sandbox(
    trim_blocks=True,
    lstrip_blocks=True,
    # An optimizer would compute constants during compilation, unbounded.
    optimized=False,
    finalize=jinja2.pass_context(lambda context, value: _paid(value)),
    extensions=[_Generation, ext.loopcontrols],
  )
  environment.filters["tojson"] = _as_json
  for name, function in environment.filters.items():
    environment.filters[name] = _filter(name, function)
  for function in (_paid, _part, _step):
    environment.filters[function.__name__] = function
  for name in _COMPARISONS:
    environment.tests[name] = _test(environment.tests[name])
  del environment.globals["lipsum"]
  environment.globals |= {
    "raise_exception": _refuse,
    "strftime_now": lambda form: datetime.datetime.now().strftime(form),
  }
  return environment
