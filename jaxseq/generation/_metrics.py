"""Numbers of a server, in the text format of Prometheus."""

import dataclasses

from jaxseq.generation import engine_thread


@dataclasses.dataclass
class Metrics:
  """Counts of the requests of a server."""

  requests: int = 0
  refused: int = 0  # Requests that got an error.
  timeouts: int = 0  # Requests that timed out.
  disconnected: int = 0  # Requests whose clients disconnected.
  answers: int = 0  # Requests whose rows the engine had.
  seconds: float = 0.0  # Total time of the answers.

  def refuse(self, status: int) -> None:
    """Counts an error by its HTTP status."""
    if status == 408:
      self.timeouts += 1
    else:
      self.refused += 1

  def take(self, seconds: float) -> None:
    """Counts rows that have ended, and the time that they took."""
    self.answers += 1
    self.seconds += seconds

  def text(self, worker: engine_thread.EngineThread) -> str:
    """Returns all numbers, including those of the engine."""
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
