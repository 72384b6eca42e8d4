import threading

import pytest

from jaxseq import generation
from jaxseq.generation import engine_thread
from jaxseq.generation import token_sampling
from tests.generation import networks

SMALL = generation.EngineConfig(slots=2, lines=2, chunk=4, steps=5)
ENDLESS = generation.Request([1, 2], 10**6)


def _worker(waiting=3):
  network, variables = networks.make("gru")
  engine = generation.Engine(network, variables, SMALL)
  return engine_thread.EngineThread(engine, waiting)


@pytest.mark.parametrize("starts", [True, False])
def test_a_stop_is_heard_by_all_who_wait(starts):
  worker = _worker()
  heard, begun = [], threading.Event()

  def hear(news):
    begun.set()
    if isinstance(news, str):
      heard.append(news)

  worker.submit([ENDLESS, ENDLESS], hear)
  worker.submit([ENDLESS], hear)
  if starts:
    worker.start()
    assert begun.wait(120)
  worker.stop()
  # Once for each request, those in slots and that which waits.
  assert heard == [engine_thread.STOPPED] * 3
  assert worker.rows == 0
  with pytest.raises(RuntimeError, match="the engine has stopped"):
    worker.submit([ENDLESS], hear)


def test_more_rows_than_there_can_ever_be_are_wrong():
  worker = _worker()
  many = generation.Request([1], 5, count=6)
  with pytest.raises(ValueError, match="rows: got 6, expected at most 5, the"):
    worker.submit([many], print)
  worker.submit([generation.Request([1], 5, count=4)], print)
  with pytest.raises(engine_thread.Full):
    worker.submit([generation.Request([1], 5, count=2)], print)


def test_options_become_arrays_once_for_a_request(monkeypatch):
  worker = _worker()
  made = []
  make = token_sampling.make_controls

  def counted(options, vocab_size):
    made.append(options)
    return make(options, vocab_size)

  monkeypatch.setattr(token_sampling, "make_controls", counted)
  ended = threading.Event()
  sampling = generation.Sampling(top_k=3)
  request = generation.Request([1], 3, sampling=sampling)
  worker.submit([request], lambda events: events[-1].reason and ended.set())
  worker.start()
  assert ended.wait(120)
  worker.stop()
  assert made.count(sampling) == 1
