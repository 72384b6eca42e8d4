"""Writes the typed halves of `__init__` files: the names that packages offer.

    python -m scripts.public_names

A package offers the public modules in its folder, and such names of modules as
stand under TYPE_CHECKING in its `__init__.py` already: a new module needs no
line, and a new name one, in any place. The rest is put in order.
"""

import ast
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]
_WIDTH = 80
_LAST = "= _lazy.attach(__name__)\n"


def faces() -> list[pathlib.Path]:
  """Returns the files of all packages, and modules, whose names are lazy."""
  paths = sorted((ROOT / "jaxseq").rglob("*.py"))
  return [path for path in paths if path.read_text().endswith(_LAST)]


def completed(path: pathlib.Path) -> str:
  """Returns the text of such a file with its typed half as it must be."""
  text = path.read_text()
  (block,) = (
    node
    for node in ast.parse(text).body
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
  )
  package = ".".join(path.parent.relative_to(ROOT).parts)
  is_package = path.name == "__init__.py"
  modules = _modules(path.parent) if is_package else []
  names = {(package, module, module) for module in modules}
  for node in block.body:
    if not isinstance(node, ast.ImportFrom) or node.module is None:
      raise ValueError(f"{path}: got {ast.unparse(node)}, expected an import.")
    for alias in node.names:
      if node.module != package or not is_package:
        names.add((node.module, alias.name, alias.asname or alias.name))
  lines = text.splitlines(keepends=True)
  end = block.orelse[0].lineno - 2
  imports = [_line(*name) for name in sorted(names, key=_order)]
  return "".join([*lines[: block.lineno], *imports, *lines[end:]])


def _modules(folder: pathlib.Path) -> list[str]:
  """Names of the public modules and packages in a folder."""
  return [
    path.stem
    for path in folder.iterdir()
    if not path.name.startswith("_")
    and (path.suffix == ".py" or (path / "__init__.py").exists())
  ]


def _order(name: tuple[str, str, str]) -> tuple[str, int, str]:
  """Where an import stands: constants, classes and the rest, as ruff has it."""
  module, attribute, _ = name
  kind = 2 - (attribute[:1].isupper()) - (attribute.isupper())
  return module, kind, attribute


def _line(module: str, attribute: str, name: str) -> str:
  """An import as ruff writes it."""
  line = f"  from {module} import {attribute} as {name}\n"
  if len(line) <= _WIDTH + 1:
    return line
  return f"  from {module} import (\n    {attribute} as {name},\n  )\n"


def _imports(text: str) -> list[str]:
  """The lines of the imports of a typed half."""
  return [line.strip() for line in text.splitlines() if " as " in line]


def _classes(path: pathlib.Path) -> list[str]:
  """Names of the public classes of a module; of a package none."""
  if not path.exists():
    return []
  body = ast.parse(path.read_text()).body
  names = (node.name for node in body if isinstance(node, ast.ClassDef))
  return [name for name in names if not name.startswith("_")]


def _report(path: pathlib.Path, before: str, after: str) -> None:
  """Prints what a file offers now, and which classes it does not."""
  old, new = _imports(before), _imports(after)
  print(f"{path.relative_to(ROOT)}: put in order")
  for line in (line for line in new if line not in old):
    print(f"  offers {line.rpartition(' ')[2].strip(',')}")
    module = path.parent / f"{line.split()[-1]}.py"
    package = ".".join(module.with_suffix("").relative_to(ROOT).parts)
    for name in _classes(module):
      if f"{name} as {name}" not in after:
        print(f"  not the class {name}. To offer it, too, add the line")
        print(f"    from {package} import {name} as {name}")
        print("  under TYPE_CHECKING, and run this again.")
  for line in (line for line in old if line not in new):
    print(f"  no longer offers {line.rpartition(' ')[2].strip(',')}")


def main() -> None:
  """Writes all files anew, and prints what has changed."""
  changed = False
  for path in faces():
    before, after = path.read_text(), completed(path)
    if before != after:
      changed = True
      path.write_text(after)
      _report(path, before, after)
  if not changed:
    print("All public modules are offered already. New classes and functions")
    print("need a line under TYPE_CHECKING in their package's __init__.py.")


if __name__ == "__main__":
  main()
