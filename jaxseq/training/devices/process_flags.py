"""The flags by which the processes of one program find each other."""

import functools
from typing import Any

from absl import flags

flags.disclaim_key_flags()


@functools.cache
def define() -> tuple[flags.FlagHolder, ...]:
  """Defines the flags by which processes find each other; returns holders."""
  return (
    flags.DEFINE_bool(
      "distributed",
      False,
      "run as one of several processes that find each other through the "
      "cluster (TPU VMs, SLURM, Open MPI, Kubernetes)",
    ),
    flags.DEFINE_string(
      "coordinator",
      None,
      "HOST:PORT of process 0, to run as one of several processes",
    ),
    flags.DEFINE_integer(
      "num_processes", None, "with --coordinator, how many there are"
    ),
    flags.DEFINE_integer(
      "process_id", None, "with --coordinator, the number of this one, from 0"
    ),
  )


def defined() -> bool:
  """Returns whether the program has these flags."""
  return "coordinator" in flags.FLAGS


def values() -> list[Any]:
  """Returns what the flags say, in the order of `define`."""
  return [holder.value for holder in define()]
