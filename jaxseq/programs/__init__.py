"""Programs for data of one's own, as `jaxseq train` and as binaries.

`line` is the one program of supervised lines of work; each module beside it
says what is its own: a configuration, perhaps further columns or pictures.
"""
