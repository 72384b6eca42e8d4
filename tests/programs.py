"""Programs that tests start, in processes of their own."""

from collections.abc import Mapping
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(
  *arguments: str | pathlib.Path,
  cwd: pathlib.Path = ROOT,
  env: Mapping[str, str] | None = None,
  timeout: float = 110,
) -> subprocess.CompletedProcess[str]:
  """Runs Python with some arguments to its end, whatever its exit status is.

  Args:
    *arguments: what stands behind `python`.
    cwd: where it runs.
    env: its whole environment. None is that of the tests.
    timeout: seconds that it may take.

  Returns:
    Its exit status and what it printed, as text.
  """
  return subprocess.run(
    [sys.executable, *arguments],
    cwd=cwd,
    env=os.environ if env is None else env,
    capture_output=True,
    text=True,
    timeout=timeout,
    check=False,
  )
