"""Data sets in miniature: small synthetic files in the layout that each set is published in.

One module for each layout writes what it is given; ``draw_*`` and ``make_*`` make something to
write: coloured shapes with captions, and dances of a simple figure to drum machines. They exercise
the readers of the real sets without a download; nothing learned from them means anything.
"""
