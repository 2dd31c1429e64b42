"""podium compared with other tools, in one run.

make bench [DATA=…/competition-data] [WEIGHTS=…/mobilenetv2.weights.h5] [TORCH=…/folder-with-torch]

`peers` are the other tools, as their users would write it; `bounds` the limits of the hardware; `podium_side.py` is
podium; `measures` compares them, one file for each kind of row of the table. Each measurement runs in its own process,
and the candidates alternate: A B C, A B C, five times or more.
"""
