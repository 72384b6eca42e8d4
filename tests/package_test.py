"""The package as a whole: imports, layers, metadata and pinned versions."""

import ast
import configparser
import os
import pathlib
import re
import sys
import tomllib

from packaging.requirements import Requirement
import pytest

import jaxseq
from tests import programs

ROOT = pathlib.Path(__file__).resolve().parents[1]

# What each layer may import of jaxseq; each may import from itself.
ALLOWED_LAYERS = {
  "recurrence": set(),
  "kernels": {"recurrence"},
  "mixers": {"recurrence"},
  "nn": {"recurrence", "mixers"},
  "interop": {"recurrence", "mixers", "nn", "training"},
  "adapt": {"recurrence", "mixers", "nn", "interop"},
  "planner": {"training"},
  "training": set(),
  "data": set(),
  "generation": {"recurrence", "mixers", "nn", "adapt", "data"},
  "tasks": {
    *("recurrence", "mixers", "nn", "planner", "training", "data", "adapt"),
  },
  "rl": {
    *("recurrence", "nn", "interop", "training", "data", "tasks"),
  },
  "spr": {"mixers", "nn", "training", "rl"},
  "dts": {"nn", "training", "data", "tasks"},
  "models": {
    *("interop", "nn", "training", "data", "generation", "tasks"),
    "dts",
  },
  "programs": {
    *("interop", "mixers", "nn", "training", "data", "generation", "tasks"),
    *("rl", "spr", "dts", "models", "adapt"),
  },
  "estimators": {"mixers", "nn", "training", "data", "tasks", "dts", "models"},
}
# The layers that people use without Flax, and what they may import.
PLAIN_LIBRARIES = {
  "recurrence": {"jax", "numpy", "chex"},
  "kernels": {"jax", "numpy", "chex"},
  "mixers": {"jax", "numpy", "chex"},
}
# Extras that a module calls, and which it loads where it calls them.
OPTIONAL_LIBRARIES = {"_gpu_tokamax": {"tokamax"}}
# What every layer may import: these need Python and JAX alone.
COMMON = {
  "_codec",
  "_files",
  "_json",
  "_lazy",
  "limits",
  "_machine",
  "_registry",
  "_serialization",
  "types",
  "validate",
}
LOOPS = {"scan", "associative_scan", "fori_loop", "while_loop"}


def sources(layer):
  files = sorted((ROOT / "jaxseq" / layer).rglob("*.py"))
  assert files, f"no source files found in jaxseq/{layer}"
  return {path: ast.parse(path.read_text(), str(path)) for path in files}


def imported_names(path, tree):
  """Yields the dotted name of everything that is imported, absolute."""
  package = path.relative_to(ROOT).with_suffix("").parts[:-1]
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name
    elif isinstance(node, ast.ImportFrom):
      base = list(package[: len(package) - node.level + 1]) * bool(node.level)
      base += node.module.split(".") if node.module else []
      for alias in node.names:
        yield ".".join([*base, alias.name])


def arrows():
  """Modules of the package by name, with those that each imports anywhere.

  What a function imports counts, and what is imported for types alone.
  """
  paths = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "jaxseq").rglob("*.py"))
  }
  paths = {name.removesuffix(".__init__"): p for name, p in paths.items()}
  result = {}
  for name, path in paths.items():
    imported = set(imported_names(path, ast.parse(path.read_text())))
    imported -= {"jaxseq.__version__"}
    result[name] = {
      target if target in paths else target.rpartition(".")[0]
      for target in imported
    } & paths.keys()
  return result


def circles(arrows):
  """Tarjan's strongly connected components of more than one module."""
  index, lowest, stack, result = {}, {}, [], []

  def visit(module):
    index[module] = lowest[module] = len(index)
    stack.append(module)
    for target in sorted(arrows[module]):
      if target not in index:
        visit(target)
        lowest[module] = min(lowest[module], lowest[target])
      elif target in stack:
        lowest[module] = min(lowest[module], index[target])
    if lowest[module] == index[module]:
      start = stack.index(module)
      if len(stack) > start + 1:
        result.append(sorted(stack[start:]))
      del stack[start:]

  for module in arrows:
    if module not in index:
      visit(module)
  return result


def test_circles_are_seen():
  graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": set()}
  assert circles(graph) == [["a", "b", "c"]]
  assert circles(graph | {"c": {"e"}}) == []


def test_modules_import_each_other_in_no_circle():
  wrong = circles(arrows())
  assert not wrong, "\n".join(map(" ".join, wrong))


def loops_over_time(tree):
  """Yields the line of every use of one of jax.lax's loops."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute) and node.attr in LOOPS:
      if ast.unparse(node.value) in ("lax", "jax.lax"):
        yield node.lineno
    elif isinstance(node, ast.ImportFrom) and node.module:
      if node.module.startswith("jax.lax") or node.module == "jax._src.lax":
        yield node.lineno


def test_import_checks_see_what_they_must():
  path = ROOT / "jaxseq" / "mixers" / "example.py"
  tree = ast.parse(
    "import jax.numpy as jnp\n"
    "from jaxseq import nn\n"
    "from . import registry\n"
    "from ..rl.agents import ppo\n"
    "def f():\n"
    "  import flax\n"
    "  return jax.lax.scan, lax.fori_loop, nn.scan\n"
    "from jax.lax import while_loop\n"
  )
  assert set(imported_names(path, tree)) == {
    "jax.numpy",
    "jaxseq.nn",
    "jaxseq.mixers.registry",
    "jaxseq.rl.agents.ppo",
    "flax",
    "jax.lax.while_loop",
  }
  assert sorted(loops_over_time(tree)) == [7, 7, 8]


@pytest.mark.parametrize("layer", ALLOWED_LAYERS)
def test_layers_import_one_way(layer):
  allowed = ALLOWED_LAYERS[layer] | {layer} | COMMON
  for path, tree in sources(layer).items():
    for name in imported_names(path, tree):
      parts = name.split(".")
      assert parts[0] not in (
        "experiments",
        "configs",
        "benchmarks",
        "tests",
      ), f"{path}: the package must not import {name}"
      if parts[0] == "jaxseq" and parts[1:] and parts[1] != "__version__":
        assert parts[1] in allowed, f"{path}: {layer} must not import {name}"


@pytest.mark.parametrize("layer", PLAIN_LIBRARIES)
def test_plain_layers_need_few_libraries(layer):
  for path, tree in sources(layer).items():
    own = OPTIONAL_LIBRARIES.get(path.stem, set())
    for name in imported_names(path, tree):
      library = name.split(".")[0]
      assert (
        library in PLAIN_LIBRARIES[layer] | {"jaxseq"} | own
        or library in sys.stdlib_module_names
      ), f"{path}: {layer} must not import {name}"


@pytest.mark.parametrize("layer", ["mixers", "nn"])
def test_only_recurrence_loops_over_time(layer):
  for path, tree in sources(layer).items():
    if path.stem == "_expert_products":
      continue  # Its loops are over blocks of rows.
    if path.stem == "mesa":
      continue  # Its loop is over steps of conjugate gradients.
    lines = list(loops_over_time(tree))
    assert not lines, f"{path}, lines {lines}: use jaxseq.recurrence"


def test_experiments_import_public_names_alone():
  for path in sorted((ROOT / "experiments").rglob("*.py")):
    for name in imported_names(path, ast.parse(path.read_text())):
      parts = name.split(".")
      if parts[0] == "jaxseq":
        private = [x for x in parts if x.startswith("_")]
        assert not private, f"{path}: {name} is private to jaxseq"


def run_python(code, **environ):
  return programs.run("-c", code, env=os.environ | environ)


def import_lines(*layers):
  """Lines of code that import every module of these layers."""
  paths = [path for layer in layers for path in sources(layer)]
  for path in paths:
    parts = path.relative_to(ROOT).with_suffix("").parts
    yield "import " + ".".join(parts).removesuffix(".__init__")


def test_imports_touch_no_device():
  # With a platform that does not exist, jax fails as soon as it looks for a
  # device; the last lines check that it does.
  # Nor is an array made, as that takes a device.
  code = """
import sys
import jax
try:
  jax.devices()
except RuntimeError:
  print("no device was touched", "gymnax" in sys.modules)
"""
  lines = import_lines(
    *("recurrence", "kernels", "mixers", "nn", "interop"),
    *("training", "rl", "spr"),
  )
  result = run_python(
    "\n".join(["import jaxseq", *lines, code]),
    JAX_PLATFORMS="no_such_platform",
  )
  assert result.returncode == 0, result.stderr
  assert result.stdout == "no device was touched False\n"


def test_imports_are_fast():
  code = """
import time
import jax
start = time.process_time()
import jaxseq
jaxseq.recurrence, jaxseq.mixers, jaxseq.nn
print(time.process_time() - start)
"""
  # Processor time, and up to three attempts, so that a busy machine matters
  # little. Flax and chex alone take 0.15 s.
  assert any(float(run_python(code).stdout) < 0.5 for _ in range(3))


def test_agents_load_no_games():
  """PPO needs neither gymnax nor what its games draw with."""
  code = """
import sys
from jaxseq.rl.agents import ppo
names = ("gymnax", "matplotlib", "pandas", "seaborn")
print([name for name in names if name in sys.modules])
"""
  assert run_python(code).stdout == "[]\n"


def test_plain_layers_load_no_optional_library():
  code = """
import sys
import jaxseq.mixers, jaxseq.recurrence
names = ("flax", "gymnax", "matplotlib", "optax", "orbax", "tensorboardX")
print([name for name in names if name in sys.modules])
"""
  assert run_python(code).stdout == "[]\n"


def test_planner_loads_no_jax():
  code = """
import sys
from jaxseq import planner
planner.plan, planner.rows, planner.baselines
print("jax" in sys.modules)
"""
  assert run_python(code).stdout == "False\n"


def test_subpackages_are_attributes():
  code = """
import sys
import jaxseq
assert "jax" not in sys.modules
assert jaxseq.recurrence is sys.modules["jaxseq.recurrence"]
print(jaxseq.recurrence.linear_scan.__name__)
"""
  result = run_python(code)
  assert result.stdout == "linear_scan\n", result.stderr


def test_unknown_attribute_is_an_attribute_error():
  with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
    _ = jaxseq.no_such_thing


def project():
  return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def package_name(requirement):
  name = re.match(r"[\w.-]+", requirement).group()
  return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(path):
  lines = path.read_text().splitlines()
  pins = [line.split("==") for line in lines if not line.startswith("#")]
  return {package_name(name): version for name, version in pins}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_is_pinned(python):
  pins = read_pins(ROOT / "constraints" / f"{python}.txt")
  extras = project()["optional-dependencies"].values()
  requirements = sum(extras, start=project()["dependencies"])
  names = {
    package_name(line)
    for line in requirements
    if not (marker := Requirement(line).marker)
    or marker.evaluate({"python_version": python})
  }
  assert names - {"jaxseq"} <= pins.keys()
  assert "setuptools" in pins
  assert pins["jax"] == {"3.11": "0.10.2"}.get(python, "0.11.2")
  assert pins["jaxlib"] == pins["jax"]


def test_setup_cfg_holds_only_flake8():
  # setuptools would silently prefer pyproject.toml, and pytest would not.
  parser = configparser.ConfigParser()
  parser.read(ROOT / "setup.cfg")
  assert parser.sections() == ["flake8"]


def test_version_is_in_the_changelog():
  assert "version" in project()["dynamic"]
  changelog = (ROOT / "CHANGELOG.md").read_text()
  assert re.search(rf"^## {re.escape(jaxseq.__version__)}\b", changelog, re.M)
