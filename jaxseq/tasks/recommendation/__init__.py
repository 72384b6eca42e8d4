"""Next items: networks, texts, semantic ids, metrics and baselines."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.recommendation import answers as answers
  from jaxseq.tasks.recommendation import arms as arms
  from jaxseq.tasks.recommendation import baselines as baselines
  from jaxseq.tasks.recommendation import item_linear as item_linear
  from jaxseq.tasks.recommendation import item_problems as item_problems
  from jaxseq.tasks.recommendation import item_sentences as item_sentences
  from jaxseq.tasks.recommendation import item_streams as item_streams
  from jaxseq.tasks.recommendation import item_texts as item_texts
  from jaxseq.tasks.recommendation import item_wishes as item_wishes
  from jaxseq.tasks.recommendation import metrics as metrics
  from jaxseq.tasks.recommendation import network as network
  from jaxseq.tasks.recommendation import semantic_ids as semantic_ids
  from jaxseq.tasks.recommendation import semantic_network as semantic_network
  from jaxseq.tasks.recommendation import sentence_network as sentence_network
  from jaxseq.tasks.recommendation import sentence_stages as sentence_stages
  from jaxseq.tasks.recommendation import task as task
  from jaxseq.tasks.recommendation.item_problems import Problem as Problem
  from jaxseq.tasks.recommendation.item_problems import make as make
  from jaxseq.tasks.recommendation.task import TASK as TASK
  from jaxseq.tasks.recommendation.task import USERS as USERS
  from jaxseq.tasks.recommendation.task import Config as Config
  from jaxseq.tasks.recommendation.task import second_stage as second_stage
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
