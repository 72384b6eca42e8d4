"""Tasks sampled on the device: pure functions of a key.

`TASKS` maps a name to the task's configuration and sampler:

  task = TASKS["mqar"]
  config = task.config(length=128, pairs=8)
  batch = jax.jit(task.sample, static_argnums=(1, 2))(key, config, 64)

`TASKS.register` registers a further task.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.data.tokens import associative_recall as associative_recall
  from jaxseq.data.tokens import byte_programs as byte_programs
  from jaxseq.data.tokens import copying as copying
  from jaxseq.data.tokens import group_words as group_words
  from jaxseq.data.tokens import induction as induction
  from jaxseq.data.tokens import mqar as mqar
  from jaxseq.data.tokens import order_recall as order_recall
  from jaxseq.data.tokens import program_codes as program_codes
  from jaxseq.data.tokens import program_draws as program_draws
  from jaxseq.data.tokens import recursion as recursion
  from jaxseq.data.tokens import registry as registry
  from jaxseq.data.tokens import regular as regular
  from jaxseq.data.tokens import sampling as sampling
  from jaxseq.data.tokens import set_disjointness as set_disjointness
  from jaxseq.data.tokens import signal_tasks as signal_tasks
  from jaxseq.data.tokens import strings as strings
  from jaxseq.data.tokens.registry import TASKS as TASKS
  from jaxseq.data.tokens.registry import get as get
  from jaxseq.data.tokens.registry import make_config as make_config
  from jaxseq.data.tokens.sampling import Task as Task
  from jaxseq.data.tokens.sampling import TokenBatch as TokenBatch
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
