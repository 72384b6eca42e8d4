r"""Small models of bytes, for the texts of `benchmarks.recycling`.

    python -m experiments.language_model --workdir=runs/recycling/kjv \
      --config=configs/language_model/recycling.py

Two layers of about 150,000 parameters in the block of each mixer's paper. The
text is that of Debian's package bible-kjv (`apt-get install bible-kjv`); with

    --config=configs/language_model/recycling.py:stdlib

it is the source of Python's standard library, which is always available. Each
takes about five minutes of one core. `:wide` trains layers of width 512 on the
Bible, whose passes are dominated by the weights (a quarter of an hour).
`:engine` are the models of `benchmarks.joint_engine`, on the source of the
library. `:tiny` only checks in seconds that everything works.
"""

from configs import blocks
from configs import supervised
from configs import variants
from configs.language_model import mixers
from jaxseq.training import configuration

_MIXERS = ("attention", "gated_deltanet", "gru", "mamba2", "s5")
_WIDTHS = {"attention": 72, "gated_deltanet": 64}
_OPTIONS = {"attention": {"window": 256}}
# Options of narrow layers.
_SMALL = {"mamba2": {"d_state": 16, "headdim": 16}}


def _arms(
  width: int | None, options: dict[str, dict[str, int]]
) -> dict[str, dict]:
  """Returns an arm for each mixer, of the given width or its own."""
  return {
    name: blocks.arm(
      name,
      d_model=width or _WIDTHS.get(name, 88),
      mixer_options=options.get(name, {}),
    )
    for name in _MIXERS
  }


KJV = configuration.updated(
  mixers.BASE,
  num_seeds=1,
  batch_size=16,
  arms=_arms(None, _OPTIONS | _SMALL),
)
_ENGINE = {
  name: blocks.arm(name, d_model=64, mixer_options=options)
  for name, options in (
    ("gru", {}),
    ("mamba2", _SMALL["mamba2"]),
    ("rwkv7", {"head_size": 16}),
  )
}
# Half of the layers are attention.
_ENGINE["hybrid"] = blocks.arm("gated_deltanet", d_model=64, hybrid=_OPTIONS)
get_config = variants.Variants(
  kjv=KJV,
  stdlib=configuration.updated(KJV, data="python_source"),
  engine=configuration.updated(KJV, data="python_source", arms=_ENGINE),
  wide=configuration.updated(
    KJV, optimizer={"learning_rate": 1e-3}, arms=_arms(512, _OPTIONS)
  ),
  tiny=supervised.tiny_text(KJV),
)
