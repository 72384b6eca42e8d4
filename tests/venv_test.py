"""scripts/venv.sh, with stand-ins for the interpreters it may find."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# A python that answers what the script asks: its version, `-m venv`, and, in an
# environment, `-m pip` and `-m uv`. Every install is written to `pip.log`.
FAKE_PYTHON = """#!/bin/sh
self="{path}"
case $1 in
  -c)
    code=$2
    shift 2
    case $code in
      *Py_GIL_DISABLED*)
        for version; do
          [ "$version" != {version} ] || {{ echo "$self"; exit 0; }}
        done
        exit 1 ;;
      *version_info*) echo {version} ;;
    esac ;;
  -m)
    case $2 in
      venv)
        {venv_fails} && exit 1
        mkdir -p "$3/bin" && cp "$self" "$3/bin/python" ;;
      pip)
        case "$*" in
          *" install "*) echo "{version} $*" >>pip.log; {install} ;;
        esac ;;
      uv) {uv} && echo "{version} $*" >>pip.log ;;
    esac ;;
esac
"""


class Checkout:
  """A copy of what the script reads, with a PATH that holds few commands."""

  def __init__(self, root):
    self.root = root / "a clone"
    self.bin = root / "bin"
    self.bin.mkdir(parents=True)
    for name in ("scripts", "constraints"):
      shutil.copytree(ROOT / name, self.root / name)
    shutil.copy(ROOT / "pyproject.toml", self.root)
    tools = "cat cksum cp dirname mkdir rm sh"
    for tool in tools.split():
      (self.bin / tool).symlink_to(shutil.which(tool))

  def add_python(
    self,
    name,
    version,
    venv_fails="false",
    install="true",
    uv="true",
    folder=None,
  ):
    path = (folder or self.bin) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
      FAKE_PYTHON.format(
        path=path,
        version=version,
        venv_fails=venv_fails,
        install=install,
        uv=uv,
      )
    )
    path.chmod(0o755)
    return path

  def run(self, *args, path=None, **environ):
    return subprocess.run(
      [self.root / "scripts" / "venv.sh", *(args or [".venv"])],
      env={"PATH": str(path or self.bin), **environ},
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      timeout=60,
      check=False,
    )

  def installs(self):
    log = self.root / "pip.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


@pytest.fixture
def checkout(tmp_path):
  if os.path.exists("/usr/local/bin/python3.13"):
    pytest.skip("/usr/local/bin is always searched, and has a python3.13")
  return Checkout(tmp_path)


def test_takes_the_newest_that_can_make_an_environment(checkout):
  checkout.add_python("python3.11", "3.11")
  checkout.add_python("python3.12", "3.12")
  checkout.add_python("python3.13", "3.13", venv_fails="true")
  result = checkout.run()
  assert result.returncode == 0, result.stderr
  assert "Python 3.12" in result.stdout
  lines = checkout.installs()
  assert len(lines) == 2
  assert all("--constraint constraints/3.12.txt" in line for line in lines)


@pytest.mark.parametrize("environ", [{}, {"PYTHON": "python3.13"}])
def test_second_run_installs_nothing(checkout, environ):
  checkout.add_python("python3.13", "3.13")
  checkout.run(**environ)
  assert checkout.installs()
  result = checkout.run(**environ)
  assert (result.returncode, result.stdout) == (0, "")
  assert not checkout.installs()


def test_changed_dependencies_are_installed(checkout):
  checkout.add_python("python3.13", "3.13")
  checkout.run()
  kept = checkout.root / ".venv" / "kept"
  kept.touch()
  checkout.installs()
  with (checkout.root / "pyproject.toml").open("a") as file:
    file.write("\n")
  assert checkout.run().returncode == 0
  assert checkout.installs()
  assert kept.exists()


def test_pip_installs_where_uv_cannot(checkout):
  checkout.add_python("python3.13", "3.13", uv="false")
  result = checkout.run()
  assert result.returncode == 0, result.stderr
  assert "pip does" in result.stdout
  assert ["-m pip" in line for line in checkout.installs()] == [True, True]


def test_interrupted_install_is_started_afresh(checkout):
  checkout.add_python("python3.13", "3.13", install="exit 1")
  assert checkout.run().returncode != 0
  half = checkout.root / ".venv" / "half-a-package"
  half.touch()
  checkout.add_python("python3.13", "3.13")
  assert checkout.run().returncode == 0
  assert not half.exists()


def test_moved_environment_is_remade(checkout):
  checkout.add_python("python3.13", "3.13")
  checkout.run()
  checkout.installs()
  moved = checkout.root.with_name("moved")
  checkout.root.rename(moved)
  checkout.root = moved
  assert checkout.run().returncode == 0
  assert checkout.installs()


def test_python_chooses_the_interpreter(checkout):
  checkout.add_python("python3.13", "3.13")
  chosen = checkout.add_python("my python", "3.11")
  checkout.run()
  checkout.installs()
  result = checkout.run(PYTHON=str(chosen))
  assert result.returncode == 0, result.stderr
  assert all(line.startswith("3.11") for line in checkout.installs())


@pytest.mark.parametrize("name", ["python3.10", "no-such-python"])
def test_unsuitable_python_is_one_clear_sentence(checkout, name):
  checkout.add_python("python3.10", "3.10")
  result = checkout.run(PYTHON=name)
  assert result.returncode == 2
  assert result.stderr.startswith(f"PYTHON={name} is not a Python 3.11, 3.12")
  assert result.stderr.count("\n") == 1


def test_no_python_is_one_clear_sentence(checkout):
  checkout.add_python("python3", "3.10")
  broken = checkout.add_python("python3.13", "3.13", venv_fails="true")
  result = checkout.run()
  assert result.returncode == 3
  assert result.stderr.startswith("No Python 3.11, 3.12 or 3.13 that can make")
  assert str(broken) in result.stderr
  assert result.stderr.count("\n") == 1
  assert not (checkout.root / ".venv").exists()


def test_absent_version_has_its_own_status(checkout):
  checkout.add_python("python3.13", "3.13")
  result = checkout.run(".venvs/3.12", "3.12")
  assert result.returncode == 3
  assert result.stderr.startswith("No Python 3.12 that can make")


def test_finds_plain_names_and_pyenv_versions(checkout, tmp_path):
  shims = tmp_path / "pyenv" / "shims"
  shims.mkdir(parents=True)
  version_bin = tmp_path / "pyenv" / "versions" / "3.13.9" / "bin"
  checkout.add_python("python3.13", "3.13", folder=version_bin)
  checkout.add_python("python", "3.11")
  path = f"{checkout.bin}:{shims}"
  assert "Python 3.13" in checkout.run(path=path).stdout
  assert "Python 3.11" in checkout.run(".venvs/3.11", "3.11").stdout


def test_refuses_to_replace_another_folder(checkout):
  assert checkout.run("jaxseq").returncode == 2
