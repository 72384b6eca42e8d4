"""Public names of packages, imported when they are first asked for."""

import ast
from collections.abc import Callable
import importlib
import pkgutil
import sys
from typing import Any


def attach(
  package: str,
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
  """Makes the names that a package imports under TYPE_CHECKING its attributes.

  The block is the one list of the package's public names; public modules in its
  folder are offered without it, too. Type checkers and editors read it as it
  stands; at run time a name is imported when it is first used, so that a
  program pays only for what it needs:

      if TYPE_CHECKING:
        from jaxseq.rl import ppo as ppo
        from jaxseq.rl.envs.registry import make as make
      else:
        __getattr__, __dir__, __all__ = _lazy.attach(__name__)
  """
  module = sys.modules[package]
  source = module.__spec__.loader.get_source(package)
  origins = {
    info.name: (package, info.name)
    for info in pkgutil.iter_modules(getattr(module, "__path__", ()))
    if not info.name.startswith("_")
  }
  origins |= {
    alias.asname: (node.module, alias.name)
    for block in ast.parse(source).body
    if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
    for node in block.body
    for alias in node.names
  }

  def get_attribute(name: str) -> Any:
    if name not in origins:
      raise AttributeError(f"module {package!r} has no attribute {name!r}")
    module, attribute = origins[name]
    if module == package:
      return importlib.import_module(f"{module}.{attribute}")
    return getattr(importlib.import_module(module), attribute)

  return get_attribute, lambda: sorted(origins), sorted(origins)
