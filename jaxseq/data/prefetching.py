"""Making batches, and bringing them to the device, ahead of their use."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import queue
import threading
from typing import Any
import weakref

# How often the thread looks whether it should end while it waits, in seconds.
_PATIENCE = 0.05
_END = object()


class Prefetcher:
  """An iterator that a thread keeps supplied; made by `prefetch`.

  It ends when the source does, raises what the source raised, and can be closed
  early: by `close`, as a context manager, or by being forgotten.
  """

  def __init__(self, source: Iterator[Any], size: int, put: Callable):
    self._queue = queue.Queue(size)
    self._stop = threading.Event()
    # The thread knows nothing of this object, or it would keep it alive.
    self._thread = threading.Thread(
      target=_supply,
      args=(source, put, self._queue, self._stop),
      name="jaxseq-prefetch",
      daemon=True,
    )
    self._thread.start()
    # Also before the interpreter ends, when a thread inside jax would crash.
    self._finish = weakref.finalize(self, _finish, self._stop, self._thread)

  def __iter__(self) -> "Prefetcher":
    return self

  def __next__(self) -> Any:
    while not self._stop.is_set():
      try:
        item, error = self._queue.get(timeout=_PATIENCE)
      except queue.Empty:
        continue
      if error is not None:
        self.close()
        raise error
      if item is _END:
        self.close()
        break
      return item
    raise StopIteration

  def __enter__(self) -> "Prefetcher":
    return self

  def __exit__(self, *unused_args) -> None:
    self.close()

  def close(self) -> None:
    """Ends the thread; waits for the item that it is making."""
    self._finish()


def _finish(stop, thread):
  stop.set()
  thread.join()


def _supply(source, put, items, stop):
  """The thread: moves items from the source to the queue."""

  def offer(item, error=None):
    while not stop.is_set():
      try:
        items.put((item, error), timeout=_PATIENCE)
        return
      except queue.Full:
        pass

  try:
    for item in source:
      if stop.is_set():
        return
      offer(put(item))
    offer(_END)
  except BaseException as error:  # noqa: B902 - raised again by the consumer
    offer(None, error)


def prefetch(
  iterator: Iterable[Any], size: int = 2, put: Callable | None = None
) -> Prefetcher:
  """Takes items out of an iterator ahead of their use, in a thread.

  Args:
    iterator: source of pytrees of arrays; only the thread uses it from now on.
    size: number of items to have ready, at least 1.
    put: function applied to each item in the thread; `jax.device_put` if None.
      For several devices or hosts use one that places the batch as the model
      wants it.

  Returns:
    An iterator over the same items. An exception of the source or of `put` is
    raised at the item where it happened.

  Raises:
    ValueError: if size is less than 1.
  """
  if size < 1:
    raise ValueError(f"size must be at least 1; got {size}.")
  if put is None:
    import jax

    put = jax.device_put
  return Prefetcher(iter(iterator), size, put)
