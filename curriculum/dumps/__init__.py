"""Dumps that other tools write, one response a line → rollouts of our own form, one a line.

In: files of a format of the table in formats.py. Out: staged rollouts, each with all responses of
its prompt. Promise: no value is written anew, no field is lost, and responses that disagree about
prompt or ground truth never become one rollout.
"""
