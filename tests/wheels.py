"""The wheel, built for tests that install it."""

import pathlib
import shutil
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]


def start(
  *command: str | pathlib.Path, cwd: str | pathlib.Path, timeout: float = 110
) -> subprocess.CompletedProcess[str]:
  """Runs a program to its end, whatever its exit status is."""
  return subprocess.run(
    list(map(str, command)),
    cwd=cwd,
    capture_output=True,
    text=True,
    timeout=timeout,
    check=False,
  )


def run(*command: str | pathlib.Path, **options: Any) -> str:
  """Runs a program that has to succeed; returns what it printed."""
  result = start(*command, **options)
  assert result.returncode == 0, result.stdout + result.stderr
  return result.stdout


def build(folder: pathlib.Path) -> pathlib.Path:
  """Builds the wheel in a folder; returns its path."""
  # A copy, for the folder `build` of an earlier time may hold other modules.
  for name in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
    shutil.copy(ROOT / name, folder)
  ignore = shutil.ignore_patterns("__pycache__")
  shutil.copytree(ROOT / "jaxseq", folder / "jaxseq", ignore=ignore)
  pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
  flags = ["--no-build-isolation", "--no-deps", "--wheel-dir", "dist", "."]
  run(*pip, "--quiet", *flags, cwd=folder)
  (path,) = folder.glob("dist/*.whl")
  return path
