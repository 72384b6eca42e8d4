"""Models that recommend items by their codes, see `semantic_network`."""

import dataclasses

from jaxseq.tasks import recommendation
from jaxseq.tasks.items import semantic_network

# The same line of work, whose models are of another class; their states are
# those of tokens, and no stream of events is answered by them.
TASK = dataclasses.replace(
  recommendation.TASK,
  kind="semantic_ids",
  outputs=dataclasses.replace(
    recommendation.TASK.outputs,
    network=semantic_network.SemanticNetwork,
    stream=None,
  ),
)
