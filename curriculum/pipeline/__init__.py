"""What run_curriculum_pipeline.sh asks of Python: whose flags are whose, and what the stages are.

In: the flags of the shell script.
Out: shell code, which sets the variables that the shell script works with.
Promise: it takes every flag of either script, and wrong ones are told before either script runs.
"""
