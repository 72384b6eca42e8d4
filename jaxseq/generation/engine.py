"""Continuous batching: rows that come and go inside one compiled program.

The life of a request, from `submit` to its last event:

- It waits in the queue until there are a line to read its prompt in, a slot for
  its first row, and room for its pattern, if it has one. What waits for room
  alone lets others pass, so many that it is not passed for ever.
- Its prompt is read in its line, a chunk a call, beside those of other lines. A
  reset at the first token makes the network forget what the line held before;
  where sequences begin with tuned states these are put into the line, and what
  fills no chunk is read first, in powers of two.
  With a `PrefixCache` reading begins behind the longest prompt that is kept,
  and pauses where others have begun alike, to keep that as well.
- What was read is placed in the slot, and what other continuations there are
  wait for slots of their own, before any new request.
- Each call draws some tokens for all slots, one a step, or several in one pass
  over a draft. A row ends by a stop token, its pattern or its length; its slot
  asks for nothing any more, and the next row takes it.
- The events of a call say what rows have got. When all rows of a request have
  ended, or are canceled, its pattern gives up its room.

Everything happens in `advance`, in the thread that calls it: `_slots` is what
runs on the device, `EngineThread` a thread for many clients. The host prepares
a call, and waits for what it has drawn, since that decides what the next reads.
"""

import collections
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
import threading
from typing import Any

import jax
import numpy as np

from jaxseq import validate
from jaxseq.adapt import batch
from jaxseq.generation import _admission
from jaxseq.generation import _draft_slots
from jaxseq.generation import _drafts
from jaxseq.generation import _engine_adapters
from jaxseq.generation import _engine_rows
from jaxseq.generation import _network_checks
from jaxseq.generation import _pairs
from jaxseq.generation import _prompt_lines
from jaxseq.generation import _prompts
from jaxseq.generation import _slots
from jaxseq.generation import _warming
from jaxseq.generation import constraints
from jaxseq.generation import offline
from jaxseq.generation import pattern_pool
from jaxseq.generation import prefix_cache
from jaxseq.generation import scoring
from jaxseq.generation import token_sampling
from jaxseq.generation._engine_config import EngineConfig
from jaxseq.generation._engine_rows import Row
from jaxseq.generation._engine_rows import Task
from jaxseq.generation.requests import MOST_TOPS
from jaxseq.generation.requests import Event
from jaxseq.generation.requests import Request
from jaxseq.generation.requests import Result
from jaxseq.generation.requests import join
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork

_SIZES = EngineConfig()


class Engine:
  """Continues prompts that come one after the other.

      engine = Engine(network, variables)
      number = engine.submit(Request(prompt, 100))
      while engine.busy:
        for event in engine.advance():
          ...

  A row gets the tokens that `offline.generate` gives with the same key and
  seed, whatever the other rows are.

  Attributes:
    network: as in `offline.generate`.
    config: sizes.
    cache: cache of prompt states; or None.
    drawn: number of tokens drawn so far.
    read: number of tokens of prompts that were read.
    passes: number of times that the network read a row to draw tokens; fewer
      than `drawn` with drafts.
  """

  def __init__(
    self,
    network: TokenNetwork,
    variables: PyTree,
    config: EngineConfig = _SIZES,
    *,
    key: jax.Array | None = None,
    constraint: constraints.Constraint | None = None,
    cache: prefix_cache.PrefixCache | None = None,
    patterns: pattern_pool.PatternConfig | None = None,
    drafts: _drafts.Draft | None = None,
    memory: PyTree = None,
    adapters: Mapping[str, batch.Adapters] | None = None,
    stop: Sequence[int] = (),
    adapter_room: int = 0,
  ):
    """Returns an engine without requests.

    Args:
      network: as in `offline.generate`.
      variables: of the network.
      config: sizes.
      key: key of all rows; that of 0 if None.
      constraint: constraint of all rows, as in `offline.generate`.
      cache: cache of prompt states, for prompts with equal prefixes.
      patterns: room for constraints of single requests; or None.
      drafts: drafts several tokens in one pass, `recycling.Recycling` or a
        `draft_model.DraftModel`; one token after the other if None. The matrix
        of a `Recycling` learns from drawn tokens and not from prompts.
      memory: memory of drafts, as in `speculative.generate`.
      adapters: adapters by names, of which a request may use one. A drafting
        network has none.
      stop: tokens that end every row, in addition to those of its request.
      adapter_room: number of adapters that `add_adapter` may add.

    Raises:
      ValueError: if there are both `constraint` and `patterns`, or one of them
        or `drafts` does not fit the network; if `cache` has states of another
        network or of other variables; if an adapter is for other weights.
    """
    vocab_size = _network_checks.vocab_size(network, variables)
    validate.instance("config", config, EngineConfig, "EngineConfig(...)")
    for name, value, kind in (
      ("cache", cache, prefix_cache.PrefixCache),
      ("patterns", patterns, pattern_pool.PatternConfig),
    ):
      validate.instance(name, value, kind | None, f"{kind.__name__}(...)")
    reader, reader_variables, shared = _draft_slots.readers(
      network, variables, drafts, memory
    )
    if cache is not None:
      # Thin keys need more than a network's own states.
      owner = reader if config.thinning is None else ("observed", reader)
      cache.claim(owner, reader_variables)
    # The cache is that of the network; its keys include adapters.
    validate.integer("adapter_room", adapter_room, 0)
    self._named = _engine_adapters.Named(adapters, adapter_room)
    self._base = jax.device_put(reader_variables)
    # Of an engine that compiles the same programs.
    self._options = {"constraint": constraint, "patterns": patterns}
    self._options |= {"drafts": drafts, "memory": memory}
    constraints.check(constraint, vocab_size)
    self._pool = None
    if patterns is not None:
      if constraint is not None:
        constraint_kind = type(constraint).__name__
        raise validate.error(
          "constraint", constraint_kind, "None, as there are patterns"
        )
      self._pool = pattern_pool.PatternPool(vocab_size, patterns)
      constraint = self._pool.table
    self.network = network
    self.config = config
    self.cache = cache
    self.drawn = self.read = self.passes = 0
    # Of the places of drawn tokens, the first of each pass.
    self._drawing, self._passes = None, slice(None)
    if drafts is not None:
      self._drawing = _draft_slots.Drawing(drafts)
      self._passes = slice(1, None, drafts.tree.paths.shape[1])
    self._reader = reader
    attached = self._named.attached(reader, self._base)
    self._variables = jax.device_put(attached)
    self._key = jax.random.key(0) if key is None else key
    self._constraint = constraint
    sizes = config.slots, config.lines
    thinning = config.thinning
    arguments = reader, self._variables, *sizes, self._key, constraint, shared
    self._arrays, self._reading = _slots.fresh(*arguments, thinning)
    self._vocab_size = vocab_size
    self._start = self._tuned_start()
    self._stop = tuple(stop)
    self._scores = threading.Lock()
    self._numbers = itertools.count(1)
    self._queue: collections.deque[Task] = collections.deque()
    self._ready: collections.deque[tuple[Row, Any]] = collections.deque()
    self._admission = _admission.Admission(self._pool)
    self._lines: list[Row | None] = [None] * config.lines
    self._rows: list[Row | None] = [None] * config.slots
    self._idle = token_sampling.make_controls(
      token_sampling.Sampling(), self._vocab_size
    )
    # What most calls get stays on the device.
    self._none = None
    self._none = self._arrivals(self._lines)

  def _tuned_start(self):
    """The state before every prompt, like an empty prefix, if it is tuned."""
    states = _draft_slots.tuned_states(self._reader, self._variables)
    if states is None:
      return None
    thinning = self.config.thinning
    if thinning is not None:
      states = thinning.observed(self._reader, self._variables, states)
    logits = np.zeros((1, self._vocab_size), self._reading.logits.dtype)
    seen = np.zeros((1, self._vocab_size), bool)
    return offline.Prefix(logits, states, seen)

  @property
  def adapters(self) -> tuple[str, ...]:
    """Names of adapters that requests may have."""
    return self._named.names

  @property
  def busy(self) -> bool:
    """True while there are requests to process."""
    return bool(self._queue or self._ready or any(self._rows))

  @property
  def waiting(self) -> int:
    """Number of rows that have no slot yet."""
    rows = sum(task.request.count for task in self._queue)
    return rows + len(self._ready)

  @property
  def running(self) -> int:
    """Number of rows in slots."""
    return sum(row is not None for row in self._rows)

  def prepare(self, request: Request) -> Task:
    """Checks a request against the network; from any thread.

    Returns:
      The argument of `submit` instead of it, once, without a second check.

    Raises:
      ValueError: if a token or an option is out of the vocabulary's range, a
        pattern cannot be used, or an adapter does not exist.
    """
    validate.instance("request", request, Request, "Request(prompt, length)")
    adapter = self._named.find(request.adapter)
    _prompts.check_tokens(self.network, request.prompt)
    if request.pattern is not None:
      if self._pool is None:
        expected = "None, as the engine has no patterns=PatternConfig()"
        raise validate.error("pattern", request.pattern, expected)
      self._pool.check(request.pattern)
    sampling = request.sampling
    if self._stop:
      stop = *sampling.stop, *self._stop
      sampling = dataclasses.replace(sampling, stop=stop)
    validate.integer(
      "entries of logit_bias", len(sampling.logit_bias), 0, _engine_rows.BIASES
    )
    controls, _ = _prompts.controls(self._vocab_size, {}, sampling, ())
    controls = controls._replace(bias=None)
    # A copy: the caller may put the next prompt into the same array.
    prompt = np.array(request.prompt, np.int32)
    number = next(self._numbers)
    task = Task(number, request, prompt, controls, *adapter)
    self._named.hold(task)
    return task

  def add_adapter(self, name: str, adapters: batch.Adapters) -> None:
    """Adds an adapter, and compiles its programs; from any thread.

    Raises:
      ValueError: if an adapter has that name already, if there is no room
        (removed ones free theirs when the last request that uses them has
        ended), or if it is for other weights.
    """
    _warming.add_adapter(self, name, adapters)

  def remove_adapter(self, name: str) -> None:
    """Rejects an adapter in new requests; from any thread.

    Raises:
      ValueError: if no adapter has that name.
    """
    self._named.remove(name)

  def submit(self, request: Request | Task) -> int:
    """Queues a request, or the result of `prepare`, and returns its number.

    Raises:
      ValueError: as in `prepare`.
    """
    task = request if isinstance(request, Task) else self.prepare(request)
    self._queue.append(task)
    return task.number

  def cancel(self, number: int, continuation: int | None = None) -> None:
    """Cancels a request, or a continuation that has started; no event follows.

    It may have ended, or not exist.
    """
    other = _engine_rows.all_but(number, continuation)
    if continuation is None:
      self._queue = collections.deque(
        task for task in self._queue if task.number != number
      )
    self._ready = collections.deque(
      (row, prefix) for row, prefix in self._ready if other(row)
    )
    self._rows = [row if row and other(row) else None for row in self._rows]
    self._tidy()

  def advance(self) -> list[Event]:
    """Runs one call of the compiled program, which reads and draws tokens.

    Returns:
      The events of rows. There may be none although `busy`.
    """
    self._fill()
    work = self._work()
    self._arrays, self._reading, drawn = _slots.advance(
      self._reader,
      self.config.steps,
      self._drawing,
      self._variables,
      self._arrays,
      self._reading,
      work,
      self._key,
      self._constraint,
    )
    _prompt_lines.after_reading(self)
    drawn = jax.device_get(drawn)
    self.passes += int(np.sum(drawn.valid[self._passes]))
    events = _engine_rows.take(self._rows, drawn)
    self.drawn += sum(len(event.tokens) for event in events)
    self._tidy()
    return events

  def score(self, tasks: Sequence[Task]) -> list[scoring.Scores]:
    """Returns the log probabilities of prompts; from any thread.

    The tasks belong to one request of the server, with the same adapter.
    """
    variables = self._variables
    if isinstance(self._reader, _pairs.Both):
      variables = variables[0]
    with self._scores:
      return scoring.score(
        *(self.network, variables, [task.prompt for task in tasks]),
        tops=min(MOST_TOPS, self._vocab_size),
        adapter=tasks[0].adapter,
        rows=self.config.lines,
        chunk=self.config.chunk,
      )

  def warm_up(self) -> None:
    """Compiles the programs of requests, without counting their results."""
    _warming.warm_up(self)

  def run(self, requests: Iterable[Request]) -> list[list[Result]]:
    """Continues prompts to their ends.

    Returns:
      The continuations of each request, in their order.
    """
    if isinstance(requests, Request):
      raise validate.error("requests", "Request", "a list of them")
    numbers = {}
    parts: list[list[list[Event]]] = []
    for index, request in enumerate(requests):
      numbers[self.submit(request)] = index
      parts.append([[] for _ in range(request.count)])
    while self.busy:
      for event in self.advance():
        if event.request in numbers:
          parts[numbers[event.request]][event.continuation].append(event)
    return [[join(events) for events in rows] for rows in parts]

  def _free(self):
    """Returns the free slots."""
    return [i for i, row in enumerate(self._rows) if row is None]

  def _tidy(self):
    """Frees the resources of ended rows."""
    for i, row in enumerate(self._lines):
      if row is not None and row not in self._rows:
        self._lines[i] = None
    rows = (*self._rows, *(row for row, _ in self._ready))
    self._admission.release({row.task for row in rows if row})

  def _fill(self):
    """Assigns free slots to waiting rows, and lines to prompts."""
    for slot in self._free():
      if self._ready:
        row, prefix = self._ready.popleft()
        self._place(slot, row, prefix)
    full: set[str | bytes] = set()
    for number, row in enumerate(self._lines):
      free = [] if row else self._free()
      task = self._admission.first(self._queue, full) if free else None
      if task is not None:
        self._queue.remove(task)
        if self._pool is not None:
          self._constraint = self._pool.table
        _prompt_lines.begin(self, number, free[0], task)

  def _arrivals(self, rows):
    """Returns arrays of new rows; None for an empty place."""
    if not any(rows) and self._none is not None:
      return self._none
    patterns = self._pool is not None
    return jax.device_put(
      _engine_rows.arrivals(rows, self._rows, self._idle, patterns)
    )

  def _place(self, slot, row, prefix):
    """Starts a row whose prompt was read before."""
    row.placed = True
    self._rows[slot] = row
    arguments = self._arrivals([row]), self._key, self._constraint
    self._arrays = _slots.place(self._arrays, prefix, *arguments)

  def _work(self):
    """Returns the arrays of the next call."""
    lines = self.config.lines
    held = np.array([bool(row and row.placed) for row in self._rows])
    chunks = _engine_rows.chunks(self._lines, self.config.chunk)
    self.read += chunks.read
    reads = any(row is not None for row in self._lines)
    # Slots are filled before tokens are drawn, if all lines can be used.
    fills = len(self._queue) >= lines <= len(self._free())
    fills = fills and all(chunks.arrivals)
    waiting = len(self._queue) + len(self._ready)
    enough = min(waiting, lines) or len(self._rows) + 1
    return _slots.Work(
      reads=np.bool_(reads),
      tokens=chunks.tokens,
      reset=chunks.reset if self._start is None else None,
      adapter=chunks.adapter,
      arrivals=self._arrivals(chunks.arrivals),
      held=held,
      steps=np.int32(0 if fills else self.config.steps),
      enough=np.int32(enough),
      extras=_engine_rows.extras(self._rows, self._vocab_size),
    )
