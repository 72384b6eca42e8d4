"""Items that a thread makes ahead of those who take them.

    with prefetch.Prefetch(read, range(1000)) as items:
      for item in items:
        ...

One thread makes the items in order, two ahead at most: while the devices work
the host reads and cuts what comes next.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import queue
import threading
from typing import Any

from jaxseq import validate


class Prefetch(Iterator[Any]):
  """An iterator over what a function makes, in a thread of its own.

  What the function raises is raised where the item would have come; after that,
  and after the last item, there are no more.

  Args:
    function: from a key to an item.
    keys: of the items, in order; maybe endless.
    size: items that may be ready and not taken.
  """

  def __init__(
    self,
    function: Callable[[Any], Any],
    keys: Iterable[Any],
    size: int = 2,
  ):
    validate.positive("size", size)
    self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
    self._free = threading.Semaphore(size)
    self._closed = False
    self._thread = threading.Thread(
      target=self._run,
      args=(function, iter(keys)),
      name="prefetch",
      daemon=True,
    )
    self._thread.start()

  def __enter__(self) -> "Prefetch":
    return self

  def __exit__(self, *unused_exception) -> None:
    self.close()

  def __next__(self) -> Any:
    if self._closed:
      raise StopIteration
    item, error = self._ready.get()
    self._free.release()
    if error is not None:
      self.close()
      raise error
    return item

  def close(self) -> None:
    """Ends the thread, once it has made what it is at, and waits for it."""
    self._closed = True
    self._free.release()
    self._thread.join()

  def _run(self, function, keys):
    """Makes items until there are no more, or nobody wants them."""
    try:
      while True:
        self._free.acquire()
        if self._closed:
          return
        self._ready.put((function(next(keys)), None))
    except BaseException as error:
      # The end of the keys, too, is passed to those who wait.
      self._ready.put((None, error))
