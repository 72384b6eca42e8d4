"""R2D2 ends where its numbers are not finite, as supervised runs do."""

import pytest

from jaxseq.training import finite
from tests.experiments import programs


@pytest.mark.slow
@pytest.mark.timeout(600)
# ml_collections loads config files in a way that Python 3.13 deprecates.
@pytest.mark.filterwarnings("ignore:the load_module")
def test_a_step_that_is_far_too_long_ends_r2d2(monkeypatch, tmp_path):
  with pytest.raises(finite.NotFinite, match="gru, seed 0: ") as caught:
    programs.call(
      monkeypatch,
      "icrl",
      "configs/icrl/r2d2.py:tiny",
      tmp_path / "run",
      "--config.agent.learning_rate=1e30",
      "--arms=gru",
      "--config.num_seeds=1",
      "--config.tensorboard=False",
    )
  assert caught.value.exit_code == 3
