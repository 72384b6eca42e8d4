"""One of the two processes that multiprocess_test.py starts; process 1 dies.

Arguments: its number, the port of the coordinator.
"""

import os
import signal
import sys

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp

from jaxseq.training import loop
from jaxseq.training.devices import processes


def chunk(state, count):
  if jax.process_index() == 1 and int(state) >= 2:
    os.kill(os.getpid(), signal.SIGKILL)
  shared = multihost_utils.process_allgather(jnp.ones(3))
  return state + count, {"loss": jnp.zeros(count) + shared.sum()}


def main(number, port):
  processes.connect(f"127.0.0.1:{port}", 2, number)
  loop.run(chunk, jnp.zeros(()), num_updates=10, chunk_size=1)
  print("not ended")


if __name__ == "__main__":
  main(int(sys.argv[1]), sys.argv[2])
