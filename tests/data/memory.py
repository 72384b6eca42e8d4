"""How much memory a reader takes."""

from collections.abc import Iterator
import contextlib
import tracemalloc


@contextlib.contextmanager
def at_most(megabytes: float) -> Iterator[None]:
  """Asserts that no more memory of Python and NumPy is taken in a block."""
  tracemalloc.start()
  try:
    yield
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < megabytes * 2**20, f"{peak / 2**20:.0f} MB"
