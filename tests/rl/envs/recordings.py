"""Episodes that the original POPGym has recorded."""


def episodes(arrays, difficulty):
  """Returns the episodes of a difficulty, each a dict of arrays.

  Args:
    arrays: what the `golden` fixture loads of a game.
    difficulty: "Easy", "Medium" or "Hard".
  """
  found = {}
  for name, array in arrays.items():
    level, episode, key = name.split("/")
    if level == difficulty:
      found.setdefault(int(episode), {})[key] = array
  return [found[i] for i in sorted(found)]
