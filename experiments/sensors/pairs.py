"""Pairs of domains of the sets, from one of which to adapt to the other."""

# Source and target subjects of the tables of CoDATS (arXiv 2005.10996), by its
# numbering; "watch" has no published pairs, these are one fixed choice.
# fmt: off
PAIRS = {
  "uci_har": (
    (14, 19), (12, 16), (18, 23), (17, 25), (7, 24),
    (9, 18), (12, 18), (6, 23), (2, 11), (7, 13),
  ),
  "hhar": (
    (1, 3), (1, 6), (0, 6), (4, 6), (5, 8),
    (2, 7), (5, 6), (3, 8), (3, 5), (4, 5),
  ),
  "wisdm": (
    (3, 11), (21, 31), (25, 29), (2, 25), (0, 8),
    (2, 32), (4, 15), (1, 7), (7, 30), (1, 11),
  ),
  "uwave": (
    (4, 5), (3, 7), (2, 6), (4, 8), (7, 8),
    (1, 8), (1, 7), (2, 7), (3, 5), (2, 5),
  ),
  "watch": (
    (1, 2), (3, 4), (5, 6), (7, 8), (9, 10),
    (2, 7), (4, 9), (6, 1), (8, 3), (10, 5),
  ),
}
# fmt: on
