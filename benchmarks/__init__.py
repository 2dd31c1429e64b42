"""podium measured beside what else a competitor would use, in one run.

make bench [DATA=…/a-competition's-data] [WEIGHTS=…/a-MobileNetV2's.weights.h5] [TORCH=…/a-folder-with-torch]

`peers` hold what others use, as their users write it; `bounds` what the hardware allows; `podium_side.py` podium;
`measures` put them side by side, one file for each kind of row of the table. Each is measured in a process of its own,
and they take turns: A B C, A B C, five times or more.
"""
