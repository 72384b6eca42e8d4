"""Published numbers of Atari-100k: what is known, and where it is from.

26 games, 100,000 agent steps (400,000 frames) each. Scores are mean returns of
whole games, unclipped. Random and human scores are those that the field
normalises with: SPR's code, Dopamine and EfficientZero have the same ones.

Scores of SimPLe, CURL, DrQ, SPR and EfficientZero are from Table 1 of
EfficientZero (arXiv:2111.00210), those of DER (data-efficient Rainbow) from
SPR's code (github.com/mila-iqia/spr). Those of BBF (arXiv:2305.19452) with 8
updates a step are from its Table A.1; those with 2 are means over the 14 runs
of the score file in its repository. Scores of each game were not found for
SR-SPR, nor for SPR without augmentation.
"""

from typing import NamedTuple


def _columns(text: str) -> dict[str, dict[str, float]]:
  """Returns the numbers of each column of a table, by game; "_" is a space."""
  (_, *names), *rows = (line.split() for line in text.strip().split("\n"))
  return {
    name.replace("_", " "): {game: float(row[i]) for game, *row in rows}
    for i, name in enumerate(names)
  }


_BOUNDS = _columns(
  """
game              random   human
alien              227.8  7127.7
amidar               5.8  1719.5
assault            222.4   742.0
asterix            210.0  8503.3
bank_heist          14.2   753.1
battle_zone       2360.0 37187.5
boxing               0.1    12.1
breakout             1.7    30.5
chopper_command    811.0  7387.8
crazy_climber    10780.5 35829.4
demon_attack       152.1  1971.0
freeway              0.0    29.6
frostbite           65.2  4334.7
gopher             257.6  2412.5
hero              1027.0 30826.4
jamesbond           29.0   302.8
kangaroo            52.0  3035.0
krull             1598.0  2665.5
kung_fu_master     258.5 22736.3
ms_pacman          307.3  6951.6
pong               -20.7    14.6
private_eye         24.9 69571.3
qbert              163.9 13455.0
road_runner         11.5  7845.0
seaquest            68.4 42054.7
up_n_down          533.4 11693.2
""",
)
RANDOM = _BOUNDS["random"]
HUMAN = _BOUNDS["human"]
GAMES = tuple(RANDOM)

# Mean scores by agent and game. RR is the number of updates a step.
SCORES = _columns(
  """
game             SimPLe     DER    CURL  DrQ  SPR EfficientZero BBF_RR2 BBF_RR8
alien            616.9   739.9   558.2   771.2   801.5   808.5  1121.7  1173.2
amidar            88.0   188.6   142.1   102.8   176.3   148.6   236.6   244.6
assault          527.2   431.2   600.6   452.4   571.0  1263.1  2004.5  2098.5
asterix         1128.3   470.8   734.5   603.5   977.8 25557.8  3169.8  3946.1
bank_heist        34.2    51.0   131.6   168.9   380.9   351.0   768.8   732.9
battle_zone     5184.4 10124.6 14870.0 12954.0 16651.0 13871.2 23681.4 24459.8
boxing             9.1     0.2     1.2     6.0    35.8    52.7    77.4    85.8
breakout          16.4     1.9     4.9    16.1    17.1   414.1   331.1   370.6
chopper_command 1246.9   861.8  1058.5   780.3   974.8  1117.3  4251.6  7549.3
crazy_climber  62583.6 16185.3 12146.5 20516.5 42923.6 83940.2 60864.5 58431.8
demon_attack     208.1   508.0   817.6  1113.4   545.2 13003.9 18298.4 13341.4
freeway           20.3    27.9    26.7     9.8    24.4    21.8    23.1    25.5
frostbite        254.7   866.8  1181.3   331.1  1821.5   296.3  2023.1  2384.8
gopher           771.0   349.5   669.3   636.3   715.2  3260.3  1209.4  1331.2
hero            2656.6  6857.0  6279.3  3736.3  7019.2  9315.9  5741.8  7818.6
jamesbond        125.3   301.6   471.0   236.0   365.4   517.0  1124.6  1129.6
kangaroo         323.1   779.3   872.5   940.6  3276.4   724.1  5032.1  6614.7
krull           4539.9  2851.5  4229.6  4018.1  3688.9  5663.3  8069.8  8223.4
kung_fu_master 17257.2 14346.1 14307.8  9111.0 13192.7 30944.8 16616.9 18991.7
ms_pacman       1480.0  1204.1  1465.5   960.5  1313.2  1281.2  2217.8  2008.3
pong              12.8   -19.3   -16.5    -8.5    -5.9    20.1    13.7    16.7
private_eye       58.3    97.8   218.4   -13.6   124.0    96.7    39.1    40.5
qbert           1288.8  1152.9  1042.4   854.4   669.1 13781.9  3245.3  4447.1
road_runner     5640.6  9600.0  5661.0  8895.1 14220.5 17751.3 26419.0 33426.8
seaquest         683.3   354.1   384.5   301.2   583.1  1100.2   988.6  1232.5
up_n_down       3350.3  2877.4  2955.2  3180.8 28138.5 17264.2 15122.7 12101.7
""",
)


class Aggregates(NamedTuple):
  """Human-normalised aggregates over the 26 games; None where none was found.

  Attributes:
    mean: over games of the mean over runs.
    median: over games of the mean over runs.
    iqm: interquartile mean of all runs on all games; never that of mean scores.
    optimality_gap: of all runs on all games; never that of mean scores.
    runs: on each game, at least; None if not known.
    source: where the numbers are from.
  """

  mean: float | None = None
  median: float | None = None
  iqm: float | None = None
  optimality_gap: float | None = None
  runs: int | None = None
  source: str = ""


_PAPERS = "arXiv:2007.05929, arXiv:2111.00210"
_RERUNS = "runs of arXiv:2108.13264, quoted by arXiv:2305.19452 and others"
_PULL = "google/dopamine, pull request 184"
_FILES = "computed from the score files in BBF's repository"
_TABLE = "arXiv:2305.19452, Table A.1"

# Those in SCORES have the names that they have there. Numbers that were not
# found in print are left out.
AGGREGATES = {
  name: Aggregates(*found)
  for name, *found in (
    ("SimPLe", 0.443, 0.144, None, None, None, _PAPERS),
    ("DER", 0.285, 0.161, None, None, None, _PAPERS),
    ("CURL", 0.381, 0.175, None, None, None, _PAPERS),
    ("DrQ", 0.357, 0.268, None, None, None, _PAPERS),
    ("SPR", 0.704, 0.415, None, None, 10, _PAPERS),
    ("EfficientZero", 1.943, 1.090, None, None, None, "arXiv:2111.00210"),
    ("DER, 100 runs", 0.350, 0.189, 0.183, None, 100, _RERUNS),
    ("DrQ(eps), 100 runs", 0.465, 0.312, 0.280, None, 100, _RERUNS),
    ("SPR, 100 runs", None, 0.395, 0.337, None, 100, f"{_PULL}; {_RERUNS}"),
    ("SPR, Dopamine's", None, 0.45, None, None, 100, _PULL),
    ("SR-SPR RR16", 1.271, 0.684, 0.631, None, None, _TABLE),
    ("BBF RR2", 2.175, 0.755, 0.940, 0.377, 14, _FILES),
    ("BBF RR2 without SPR", 1.737, 0.711, 0.826, 0.397, 14, _FILES),
    ("BBF RR8", 2.247, 0.917, 1.045, None, None, _TABLE),
    ("BBF RR8, score file", 2.238, 0.880, 1.033, 0.342, 52, _FILES),
    ("BBF RR8 without SPR", 1.910, 0.811, 0.969, 0.340, 14, _FILES),
  )
}
