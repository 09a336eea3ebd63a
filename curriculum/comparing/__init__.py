"""An earlier bucketing beside this one: the same cuts, and what changed for each prompt.

In: the directory of an earlier bucketing. Out: its cuts as options, or its rollouts beside those of
this run. Promise: a prompt is compared with itself or not at all, and what is not compared is
counted; nothing is written there.
"""
