"""Several processes that run one program, each with its own devices.

    python -m experiments.NAME ... --distributed                 on every host
    python -m experiments.NAME ... --coordinator=HOST:PORT \
      --num_processes=2 --process_id=0                           by hand

`jax.distributed` connects them. With `--distributed` it finds the others by
itself on TPU VMs, under SLURM, Open MPI and Kubernetes.
"""

from collections.abc import Iterator
import contextlib
import os
import re
import sys

import jax
from jax.experimental import multihost_utils
import numpy as np

from jaxseq.training import errors
from jaxseq.training.devices import process_flags

# As of a program that may be started again.
EXIT_CODE = 75
# What the collectives of CPUs, GPUs and the coordinator say then; JAX makes
# some of it a ValueError.
_GONE = "Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|coordination|heartbeat|by peer"
# Seconds without a sign of life after which a process counts as gone.
_HEARTBEAT = 100


def start() -> None:
  """Connects this process to the others, if the flags ask for it.

  Only process 0 prints results: the standard output of the others is closed.
  Nothing may have used a device before.

  Raises:
    UserError: the flags do not go together, or joining the others failed.
  """
  if not process_flags.defined():
    return
  automatic, coordinator, count, number = process_flags.values()
  by_hand = (coordinator, count, number)
  wrong = None
  if by_hand == (None, None, None):
    if not automatic:
      return
  elif automatic:
    wrong = (
      "--distributed: finds the other processes by itself; leave out "
      "--coordinator, --num_processes and --process_id, or --distributed"
    )
  elif None in by_hand:
    wrong = (
      f"--coordinator={coordinator}, --num_processes={count}, "
      f"--process_id={number}: expected all three"
    )
  elif not re.fullmatch(r".+:\d+", coordinator):
    wrong = f"--coordinator: got {coordinator!r}, expected HOST:PORT"
  elif not 0 <= number < count:
    wrong = f"--process_id: got {number}, expected 0 to {count - 1}"
  if wrong:
    raise errors.UserError(wrong)
  connect(coordinator, count, number)
  if jax.process_index() != 0:
    sys.stdout = open(os.devnull, "w", encoding="utf-8")


def connect(
  coordinator: str | None = None,
  count: int | None = None,
  number: int | None = None,
) -> None:
  """Connects this process to the others by `jax.distributed`.

  Args:
    coordinator: HOST:PORT of process 0; None where the cluster tells.
    count: number of processes.
    number: that of this one.

  Raises:
    UserError: they were not found, or a device has been used already.
  """
  try:
    jax.distributed.initialize(
      coordinator, count, number, heartbeat_timeout_seconds=_HEARTBEAT
    )
  except (ValueError, RuntimeError) as error:
    hint = "" if coordinator else " (without a cluster, use --coordinator)"
    raise errors.UserError(
      f"cannot join the other processes: {errors.one_sentence(error)}{hint}"
    ) from error


@contextlib.contextmanager
def end_with_the_others() -> Iterator[None]:
  """Ends this process at once when another one has gone.

  What was under way between them has failed then. An ordinary end would wait
  for all of them, which takes minutes, and abort with pages of stacks.
  """
  try:
    yield
  except (jax.errors.JaxRuntimeError, ValueError) as error:
    if jax.process_count() == 1 or not re.search(_GONE, str(error)):
      raise
    print(
      f"error: process {jax.process_index()} of {jax.process_count()}: another "
      f"process has gone ({errors.one_sentence(error)[:200]}); start all of "
      "them again with the same command, which resumes from the last "
      "checkpoint",
      file=sys.stderr,
      flush=True,
    )
    os._exit(EXIT_CODE)


def is_first() -> bool:
  """Returns whether this process is the one that writes and tells results."""
  return jax.process_index() == 0


def first_then_rest(function, name: str):
  """Calls a function on process 0, and on the others when it has succeeded.

  The name is that of the point where the processes meet. Returns what the
  function returned on this process.

  Raises:
    UserError: on the others, when process 0 raised an exception.
  """
  if jax.process_count() == 1:
    return function()
  result, failed = None, True
  try:
    if is_first():
      result = function()
    failed = False
  finally:
    # The others wait here, and must not wait for ever.
    failed = bool(multihost_utils.broadcast_one_to_all(np.bool_(failed)))
  if is_first():
    return result
  if failed:
    raise errors.UserError(f"process 0 failed at: {name}")
  return function()
