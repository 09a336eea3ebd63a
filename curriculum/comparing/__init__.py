"""An earlier run beside this one: the same cuts, the same split, and what changed for each prompt.

In: the directory of an earlier run. Out: its cuts and its split as options, or its rollouts beside
those of this run. Promise: a prompt is compared with itself or not at all, what is not compared is
counted, and nothing is written there.
"""
