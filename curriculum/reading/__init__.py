"""Files → shards → blocks of whole lines → checked fields, and the ledger of all lines.

In: paths of rollout files. Out: scores, messages and other fields of each line, or what is wrong
with it. Promise: every line is read exactly once per pass and has one kind in the ledger; a value
is never guessed.
"""
