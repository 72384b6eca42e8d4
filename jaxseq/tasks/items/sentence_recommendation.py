"""Models that read histories as sentences, see `sentence_network`."""

import dataclasses

from jaxseq.tasks import recommendation
from jaxseq.tasks.items import sentence_network

# The same line of work, whose models are of another class: a history is read
# anew with every item, and no stream of events is answered.
TASK = dataclasses.replace(
  recommendation.TASK,
  kind="item_sentences",
  outputs=dataclasses.replace(
    recommendation.TASK.outputs,
    network=sentence_network.SentenceNetwork,
    stream=None,
  ),
)
