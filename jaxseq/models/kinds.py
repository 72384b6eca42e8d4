"""Kinds of models: the outputs of the tasks that train them.

A name refers to a task, "package.module:TASK", whose `outputs` is a
`tasks.outputs.Outputs`, or directly to such outputs. The kinds of `tasks.lines`
are built in; others are registered.
"""

from jaxseq import _registry
from jaxseq.tasks import lines
from jaxseq.tasks import outputs

KINDS = _registry.Registry(
  "kind of model",
  {
    kind: path if ":" in path else f"{path}:TASK"
    for line in lines.LINES.values()
    for kind, path in line.kinds.items()
  },
  written="kinds.KINDS.register",
)
names = KINDS.names


def get(kind: str) -> outputs.Outputs:
  """Returns the outputs of models of a kind.

  Raises:
    ValueError: if there is no such kind.
  """
  entry = KINDS.get(kind)
  return getattr(entry, "outputs", entry)


def outside(kind: str) -> str | None:
  """Returns the module of a kind that is registered from outside of jaxseq.

  Raises:
    ValueError: if there is no such kind.
  """
  path = KINDS.path(kind)
  if isinstance(path, str):
    module = path.partition(":")[0]
  else:
    module = get(kind).network.__module__
  return None if module.split(".")[0] in ("jaxseq", "__main__") else module
