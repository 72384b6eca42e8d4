"""Parts of several recurrences, mainly time split over a mesh axis.

A public scan is a record, and `_recurrences` makes of it checks, batch axes,
the choice by platform, and the form over devices. That splits time inside
`jax.shard_map`, for an argument `axis` that is not None, by the parts that the
module `_*_sharded` of their folder makes:

  axis: name of the mesh axis over which time is split into equal, contiguous
    chunks, the first on the first device; arrays are this device's chunks.
    `init` is the state before the first element of the whole sequence, the same
    on all devices, and the state returned that after the last element of the
    whole sequence, the same on all devices. With `reverse`, time runs from the
    last device to the first, `init` is the state after the end of the sequence,
    and the state returned that after its first element.

The context `exchanging` sets how they exchange summaries; see
`_prefix.entering`.

From gathered summaries every device also computes the state after the whole
sequence. After messages, the last device sends it in a sum over devices, which
is dropped if the state is unused. The same holds for arguments that do not
depend on time, such as `A`, if devices compute them from values that differ
between them, and under `check_vma=False`: `_prefix.final`.

A summary has the size of a state and does not grow with time. It is computed
first, from sums over the chunk without outputs; then the plain function runs
with the entering state, in one pass, after the exchange: nothing overlaps with
it. Only `outer_scan`, `outer_scan_heads` and `siso_scan`, whose outputs are
cheap to correct afterwards, run from zeros beside the exchange and add the
contribution of the entering state: the chunk's own work then does not wait for
other devices, as in LASP-2 (Sun et al., arXiv:2502.07563, section 3). The
compiler decides whether the two overlap. That of a TPU v5e converts small
gathers to all-reduces and schedules these without other work, so that there is
no overlap; it starts `ppermute`s early and ends them late, with other work
between (docs/compile.md).

The additional work of a device, as a fraction of the plain function's time on a
busy CPU core with 2048 elements, forward: 0.5 for a summary (`lti_scan`,
`softmax_outer_scan`), 0.9 (`selective_scan`), 1.1 (`linear_scan`) and 0.3
(`outer_scan`); 0.5 for a correction (`outer_scan`) and 0.7 (`siso_scan`). On an
axis of one device nothing is added.

`lti_scan` and `selective_scan` run forward twice, the first time for the state
alone. A correction of their outputs takes longer than that, on such a core with
512 to 1024 elements: for `lti_scan`, one more product with C, 2 to 4 times as
long and 0.8 to 2.3 times with the gradient; for `selective_scan`, an
exponential for each element and state, 1.5 times and 2.7 to 3.7 times. The
gradient of the first run of `lti_scan` is that of a sum of products, with no
loop over elements: 0.3 to 0.7 of the time of the loop's.
"""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.recurrence.shared import affine as affine
  from jaxseq.recurrence.shared import chunked as chunked
  from jaxseq.recurrence.shared import function_chunks as function_chunks
  from jaxseq.recurrence.shared import low_rank as low_rank
  from jaxseq.recurrence.shared import low_rank_rows as low_rank_rows
  from jaxseq.recurrence.shared import stepwise as stepwise
  from jaxseq.recurrence.shared import weights as weights
  from jaxseq.recurrence.shared.function_chunks import (
    forward_in_chunks as forward_in_chunks,
  )
  from jaxseq.recurrence.shared.function_chunks import in_chunks as in_chunks
  from jaxseq.recurrence.shared.stepwise import fold as fold
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
