"""Generation of tokens from any network of tokens, and its algorithms."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.generation import automaton as automaton
  from jaxseq.generation import beams as beams
  from jaxseq.generation import constraints as constraints
  from jaxseq.generation import draft_model as draft_model
  from jaxseq.generation import engine as engine
  from jaxseq.generation import engine_thread as engine_thread
  from jaxseq.generation import offline as offline
  from jaxseq.generation import pattern_pool as pattern_pool
  from jaxseq.generation import picture_drawing as picture_drawing
  from jaxseq.generation import prefix_cache as prefix_cache
  from jaxseq.generation import recycling as recycling
  from jaxseq.generation import requests as requests
  from jaxseq.generation import scoring as scoring
  from jaxseq.generation import server as server
  from jaxseq.generation import speculative as speculative
  from jaxseq.generation import streaming as streaming
  from jaxseq.generation import substrings as substrings
  from jaxseq.generation import texts as texts
  from jaxseq.generation import token_sampling as token_sampling
  from jaxseq.generation import tree_passes as tree_passes
  from jaxseq.generation import tries as tries
  from jaxseq.generation.beams import Beams as Beams
  from jaxseq.generation.beams import beam_search as beam_search
  from jaxseq.generation.beams import ranked as ranked
  from jaxseq.generation.constraints import Constraint as Constraint
  from jaxseq.generation.engine import Engine as Engine
  from jaxseq.generation.engine import EngineConfig as EngineConfig
  from jaxseq.generation.offline import Prefix as Prefix
  from jaxseq.generation.offline import Rollouts as Rollouts
  from jaxseq.generation.offline import continue_prefix as continue_prefix
  from jaxseq.generation.offline import generate as generate
  from jaxseq.generation.offline import read_prefix as read_prefix
  from jaxseq.generation.offline import rollouts as rollouts
  from jaxseq.generation.pattern_pool import PatternConfig as PatternConfig
  from jaxseq.generation.prefix_cache import PrefixCache as PrefixCache
  from jaxseq.generation.requests import Request as Request
  from jaxseq.generation.streaming import complete as complete
  from jaxseq.generation.streaming import stream as stream
  from jaxseq.generation.texts import Codec as Codec
  from jaxseq.generation.texts import TextStream as TextStream
  from jaxseq.generation.texts import continue_text as continue_text
  from jaxseq.generation.token_sampling import Sampling as Sampling
  from jaxseq.generation.token_sampling import process_logits as process_logits
  from jaxseq.generation.token_sampling import sample as sample
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
