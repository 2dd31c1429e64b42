"""What podium is measured by; each has a target in the Makefile.

bench       speed and memory, compared with other tools and with the limits of the hardware
scores      scores in the same minutes, compared with Keras's guide and fastai
recipes     what each training technique brought (techniques.py)
estimates   nested estimates and hidden scores of ten drawn competitions
scale       a hundred thousand images
cluster     what a Ray cluster costs and brings
mutate      whether the tests notice small mistakes (mutation.py)

make bench [DATA=…/competition-data] [WEIGHTS=…/mobilenetv2.weights.h5] [TORCH=…/folder-with-torch] [ONLY="input full"]

`peers` are the other tools, as their users would write it; `bounds` the limits of the hardware; `podium_side.py` is
podium; `measures` compares them, one file for each kind of row of the table. Each measurement runs in its own process,
and the candidates alternate: A B C, A B C, five times or more.
"""
