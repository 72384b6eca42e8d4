"""One of the two processes that multiprocess_test.py starts and that hang.

Arguments: its number, the port of the coordinator. Process 1 waits in a
collective for process 0, which is stuck on its host.
"""

import sys
import time

from jax.experimental import multihost_utils

from jaxseq.training.devices import _watchdog
from jaxseq.training.devices import processes

# What each is silent for, in seconds: process 1, which needs the other as a
# coordinator, ends first.
PATIENCE = {0: 5, 1: 2}


def stuck_here():
  time.sleep(1000)


def main(number, port):
  processes.connect(f"127.0.0.1:{port}", 2, number)
  multihost_utils.sync_global_devices("compiled and connected")
  with _watchdog.Watchdog(PATIENCE[number]) as dog:
    dog.beat("updating")
    if number == 0:
      stuck_here()
    multihost_utils.sync_global_devices("never")
  print("not ended")


if __name__ == "__main__":
  main(int(sys.argv[1]), sys.argv[2])
