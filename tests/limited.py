"""Dangerous tries: in a child with bounds on memory and time."""

import subprocess
import sys
import textwrap

MEMORY = 4 * 2**30


def run(code: str, *, seconds: int = 60, memory: int = MEMORY) -> str:
  """Runs Python in a child; returns what it prints.

  Fails if the child is killed, takes longer, or ends with an error.

  Args:
    code: of Python.
    seconds: of processor time and, with a margin, of the clock.
    memory: bytes of address space.
  """
  # The child bounds itself: JAX refuses a fork, which `preexec_fn` takes.
  bounds = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
"""
  done = subprocess.run(
    [sys.executable, "-c", bounds + textwrap.dedent(code)],
    capture_output=True,
    text=True,
    timeout=8 * seconds,
    check=False,
  )
  assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
  return done.stdout
