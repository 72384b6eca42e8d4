"""The built wheel, in environments that hold no more than it asks for."""

from importlib import metadata
import re
import sys
import venv
import zipfile

from packaging import requirements
from packaging import utils
import pytest

from tests import wheels

TRAINED = wheels.ROOT / "tests" / "golden" / "models" / "classes.safetensors"
README = (wheels.ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def closure(names):
  """The distributions that some distributions need to work."""
  extras = {}
  left = [requirements.Requirement(name) for name in names]
  while left:
    requirement = left.pop()
    name = utils.canonicalize_name(requirement.name)
    fresh = {"", *requirement.extras} - extras.setdefault(name, set())
    extras[name] |= fresh
    for line in (metadata.requires(name) or ()) if fresh else ():
      needed = requirements.Requirement(line)
      if not needed.marker or any(
        needed.marker.evaluate({"extra": extra}) for extra in fresh
      ):
        left.append(needed)
  return sorted(extras)


def make_environment(folder, names):
  """Makes an environment with these distributions and what they need."""
  venv.create(folder, with_pip=False)
  (site,) = folder.glob("lib/python*/site-packages")
  for name in closure(names):
    distribution = metadata.distribution(name)
    # What is on top: packages, modules, libraries and metadata.
    for top in {path.parts[0] for path in distribution.files or ()}:
      if top not in ("..", "__pycache__"):
        link = site / top
        if not link.exists():
          link.symlink_to(distribution.locate_file(top))
  return folder / "bin" / "python"


def install(python, wheel):
  pip = [sys.executable, "-m", "pip", "--python", python, "--no-input"]
  wheels.run(
    *pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd="/"
  )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  return wheels.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def dependencies(wheel):
  """The requirements of the wheel that belong to no extra."""
  with zipfile.ZipFile(wheel) as archive:
    (path,) = [n for n in archive.namelist() if n.endswith("/METADATA")]
    lines = archive.read(path).decode().splitlines()
  found = [
    requirements.Requirement(line.removeprefix("Requires-Dist: "))
    for line in lines
    if line.startswith("Requires-Dist: ")
  ]
  return [r.name for r in found if not r.marker or "extra" not in str(r.marker)]


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
  with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
    (path,) = [name for name in names if name.endswith("/entry_points.txt")]
    assert b"jaxseq = jaxseq.programs.command:main" in archive.read(path)
  assert {name.split("/")[0].split("-")[0] for name in names} == {"jaxseq"}
  sources = {
    str(p.relative_to(wheels.ROOT))
    for p in (wheels.ROOT / "jaxseq").rglob("*.py")
  }
  assert {name for name in names if name.endswith(".py")} == sources
  assert "jaxseq/py.typed" in names
  assert any(name.endswith("/LICENSE") for name in names)


def test_the_description_has_no_link_into_the_repository(wheel):
  with zipfile.ZipFile(wheel) as archive:
    (path,) = [n for n in archive.namelist() if n.endswith("/METADATA")]
    description = archive.read(path).decode().partition("\n\n")[2]
  assert "make quickstart" in description
  assert re.search(r"\]\((?!https:)", README)
  assert not re.search(r"\]\((?!https:)", description)


@pytest.mark.slow
def test_the_readme_runs_with_the_plain_dependencies(
  wheel, dependencies, tmp_path
):
  python = make_environment(tmp_path / "plain", dependencies)
  install(python, wheel)
  code = "import jaxseq, sys; print(jaxseq.__file__); print(sys.prefix)"
  where, prefix = wheels.run(
    python, "-I", "-c", code, cwd=tmp_path
  ).splitlines()
  assert where.startswith(prefix)
  for package in ("rl.agents.ppo", "spr.agent", "dts.problem", "training.app"):
    wheels.run(
      python, "-I", "-c", f"import jaxseq; jaxseq.{package}", cwd=tmp_path
    )
  for example in EXAMPLES:
    wheels.run(python, "-I", "-c", example, cwd=tmp_path)
  predict = (
    "import jaxseq, numpy as np\n"
    f"model = jaxseq.load({str(TRAINED)!r})\n"
    "model.predict(np.zeros((3, 7, 2))).write('predictions.csv')\n"
  )
  wheels.run(python, "-I", "-c", predict, cwd=tmp_path)
  rows = (tmp_path / "predictions.csv").read_text().splitlines()
  assert rows[0].startswith("id,class,probability_a")
  assert len(rows) == 4


@pytest.mark.slow
def test_mixers_run_with_jax_numpy_and_chex_alone(wheel, tmp_path):
  python = make_environment(tmp_path / "bare", ["jax", "numpy", "chex"])
  install(python, wheel)
  (example,) = [e for e in EXAMPLES if "mixers.get" in e]
  code = example + (
    "\nfrom importlib import metadata\n"
    "import jaxseq\n"
    "for name in jaxseq.mixers.names():\n"
    "  jaxseq.mixers.get(name)\n"
    "for name in jaxseq.recurrence.__all__:\n"
    "  getattr(jaxseq.recurrence, name)\n"
    "print(*(d.name for d in metadata.distributions()))\n"
  )
  names = wheels.run(python, "-I", "-c", code, cwd=tmp_path).split()
  assert not {"flax", "optax", "gymnax", "ml_collections"} & set(names)


@pytest.fixture(scope="module")
def command(wheel, dependencies, tmp_path_factory):
  """The program, in an environment that has the wheel."""
  directory = tmp_path_factory.mktemp("command") / "plain"
  python = make_environment(directory, dependencies)
  install(python, wheel)
  return python.parent / "jaxseq"


@pytest.mark.slow
def test_the_command_comes_with_the_wheel(command, tmp_path):
  shown = wheels.run(command, "--help", cwd=tmp_path)
  assert "jaxseq train classify --data=" in shown


@pytest.mark.slow
def test_the_command_of_the_wheel_trains(command, tmp_path):
  (tmp_path / "notes.txt").write_text("ab" * 2000)
  sizes = {"num_updates": 2, "length": 8, "valid_tokens": 16, "num_seeds": 1}
  small = ("optimizer.warmup_steps=0", "network.stack.d_model=8")
  wheels.run(
    command,
    *("train", "language_model", "--data=notes.txt", "--workdir=run"),
    *(f"--config.{name}={value}" for name, value in sizes.items()),
    *(f"--config.{field}" for field in small),
    cwd=tmp_path,
  )
  assert (tmp_path / "run" / "mamba" / "model.safetensors").is_file()
