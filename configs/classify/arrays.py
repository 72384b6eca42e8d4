r"""Your own series in an .npz archive, or in .ts files of sktime and aeon.

    python -m experiments.classify --config=configs/classify/arrays.py \
      --workdir=runs/walks --config.data_options.path=walks.npz

The archive contains X (n, time, channels), y (n,) and perhaps lengths (n,), or
these names with the suffixes _train and _test (docs/own_data.md).

Variants: `ts`, a .ts file; `tiny` and `ts_tiny`, which only check in seconds
whether the file can be used.
"""

from configs import supervised
from configs import variants
from configs.classify import _shared
from jaxseq.programs import own_data

NPZ = _shared.own("npz", path="data.npz", **own_data.SERIES)
TS = _shared.own("ts", path="data.ts", test_path=None, **own_data.SERIES)
get_config = variants.Variants(
  npz=NPZ, ts=TS, tiny=supervised.tiny(NPZ), ts_tiny=supervised.tiny(TS)
)
