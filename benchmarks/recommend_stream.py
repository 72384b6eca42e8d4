r"""Events of users as they come: how many a second, and what memory they take.

    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.recommend_stream \
      --events=1000000

Each event is one more item of one of many users, of whom the newest 50 items
count, on one core; every hundredth asks for ten items of a catalog, too. Time
is that of the processor. Memory is what the process holds after each tenth of
the events.
"""

import resource
import time

from absl import app
from absl import flags
import jax
import numpy as np

from jaxseq import nn
from jaxseq.tasks.recommendation import item_streams
from jaxseq.tasks.recommendation import network as item_network
from jaxseq.training import tables

_EVENTS = flags.DEFINE_integer("events", 1_000_000, "how many")
_USERS = flags.DEFINE_integer("users", 1_000, "of how many users")
_ITEMS = flags.DEFINE_integer("items", 1_682, "of the catalog")
_MIXERS = flags.DEFINE_list("mixers", ["gru", "s5"], "of the networks")


def measure(mixer: str) -> list[str]:
  """Returns a row of the table."""
  stack = nn.StackConfig(mixer, d_model=48, num_layers=1)
  network = item_network.ItemNetwork(
    nn.NetworkConfig(stack), _ITEMS.value, 50, repeats=True
  )
  history = np.ones((1, 1), np.int32)
  variables = jax.jit(network.init)(jax.random.key(0), history, history[0])
  users = item_streams.Users(network, variables)
  rng = np.random.default_rng(0)
  count = _EVENTS.value
  names = rng.integers(0, _USERS.value, count)
  # Each user has 64 items, which come again: what was taken is a set.
  items = 1 + (13 * names + rng.integers(0, 64, count)) % _ITEMS.value
  # All users are there, and all that is compiled, before the clock runs.
  for name in range(_USERS.value):
    users.update(name, 1)
  users.recommend([0], 10, True)
  begin, memory, lists = time.process_time(), [], 0.0
  for number, (name, item) in enumerate(zip(names.tolist(), items.tolist())):
    users.update(name, item)
    if number % 100 == 0:
      since = time.process_time()
      users.recommend([name], 10, True)
      lists += time.process_time() - since
    if number % max(1, count // 10) == 0:
      memory.append(_resident())
  spent = time.process_time() - begin - lists
  asked = 1 + (count - 1) // 100
  return [
    mixer,
    f"{count / spent:,.0f}",
    f"{asked / lists:,.0f}",
    f"{memory[1]:.0f}",
    f"{memory[-1]:.0f}",
  ]


def _resident():
  """Megabytes of memory that the process holds."""
  with open("/proc/self/statm", encoding="ascii") as file:
    return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def main(argv: list[str]) -> None:
  """Prints the table."""
  del argv
  tables.show(
    [
      "mixer",
      "events/s",
      "lists/s",
      "MB after a tenth",
      "MB after nine tenths",
    ],
    [measure(mixer) for mixer in _MIXERS.value],
    title=f"{_EVENTS.value:,} events of {_USERS.value:,} users",
  )


if __name__ == "__main__":
  app.run(main)
