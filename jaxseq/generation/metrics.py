"""Numbers of a server, in the text format of Prometheus."""

import dataclasses

from jaxseq.generation import engine_thread


@dataclasses.dataclass
class Metrics:
  """Counts of the requests of a server.

  Attributes:
    requests: number of them.
    refused: of which got an error.
    timeouts: of which took too long.
    disconnected: of which lost their clients.
    answers: of which the engine had rows.
    seconds: time that these took, all together.
  """

  requests: int = 0
  refused: int = 0
  timeouts: int = 0
  disconnected: int = 0
  answers: int = 0
  seconds: float = 0.0

  def refuse(self, status: int) -> None:
    """Counts an error by its status in HTTP."""
    if status == 408:
      self.timeouts += 1
    else:
      self.refused += 1

  def take(self, seconds: float) -> None:
    """Counts rows that have ended, and the time that they took."""
    self.answers += 1
    self.seconds += seconds

  def text(self, worker: engine_thread.EngineThread) -> str:
    """Returns all numbers, with those of the engine."""
    engine = worker.engine
    entries = {
      "requests_total": self.requests,
      "refused_total": self.refused,
      "timeouts_total": self.timeouts,
      "disconnected_total": self.disconnected,
      "request_seconds_sum": self.seconds,
      "request_seconds_count": self.answers,
      "generated_tokens_total": engine.drawn,
      "prompt_tokens_total": engine.read,
      "rows": worker.rows,
      "rows_limit": worker.most,
    }
    if engine.cache is not None:
      entries |= {
        "prefix_hits_total": engine.cache.hits,
        "prefix_misses_total": engine.cache.misses,
        "prefix_refused_total": engine.cache.refused,
        "prefix_bytes": engine.cache.nbytes,
      }
    return "".join(f"jaxseq_{name} {n}\n" for name, n in entries.items())
