"""Next items: networks, losses, texts, semantic ids, ranking, baselines."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.tasks.items import item_floors as item_floors
  from jaxseq.tasks.items import item_linear as item_linear
  from jaxseq.tasks.items import item_metrics as item_metrics
  from jaxseq.tasks.items import item_network as item_network
  from jaxseq.tasks.items import item_sentences as item_sentences
  from jaxseq.tasks.items import item_streams as item_streams
  from jaxseq.tasks.items import item_texts as item_texts
  from jaxseq.tasks.items import item_wishes as item_wishes
  from jaxseq.tasks.items import ranking as ranking
  from jaxseq.tasks.items import (
    recommendation_answers as recommendation_answers,
  )
  from jaxseq.tasks.items import recommendation_arms as recommendation_arms
  from jaxseq.tasks.items import semantic_ids as semantic_ids
  from jaxseq.tasks.items import semantic_network as semantic_network
  from jaxseq.tasks.items import sentence_network as sentence_network
  from jaxseq.tasks.items import sentence_stages as sentence_stages
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
