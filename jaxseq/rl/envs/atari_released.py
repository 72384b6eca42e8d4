"""Rules of Atari's games in training, as in the released code of SPR.

For those who compare with that code to the pixel; later code plays as `atari`
does by itself. The emulator, the actions and the 4 frames of a step are the
same. These differ:

    images    are shrunk bilinearly, as OpenCV does it
    begin     2 to 31 frames of doing nothing
    life      where one is lost, a further frame of doing nothing is played. It
              alone is shown, and what it scores does not count. A life is lost
              where fewer are left than after the last loss: one that was won
              meanwhile makes up for it
    limit     the step after 27,000 others is the last of a game

Schwarzer et al., arXiv:2007.05929, and its code (github.com/mila-iqia/spr).
"""

import numpy as np

from jaxseq.rl.envs import _ale
from jaxseq.rl.envs import resizing


class Player(_ale.Player):
  """One player by these rules; `max_steps` are those before the last one.

  A game begins with one frame of doing nothing more than `draw_noops` says.
  """

  noops = (1, 30)
  resize = staticmethod(resizing.bilinear)

  def reset(self) -> np.ndarray:
    """Begins a game; returns the frame (84, 84) uint8."""
    self.emulator.reset_game()
    self._begin_life()
    for _ in range(self.draw_noops()):
      self.emulator.act(_ale.NOOP)
    self.steps = 0
    return self._shrink(self._look(0))

  def step(self, action: int) -> _ale.Step:
    """Takes an action, an index into the game's smallest set of actions."""
    reward, before = self._repeat(action)
    # At 0 the game is over, or has no lives.
    lost = 0 < self.emulator.lives() < self.lives
    if lost:
      self._begin_life()
    shown = self._look(1) if lost else np.maximum(before, self._look(1))
    frame = self._shrink(shown)
    stopped = self.steps >= self.max_steps
    self.steps += 1
    return self._finish(frame, reward, lost, stopped)

  def _begin_life(self):
    self.emulator.act(_ale.NOOP)
    self.lives = self.emulator.lives()
