"""The lines of a dump, one response each → rollouts of our own form, one a line.

In: files of a known format. Out: staged rollouts, each with all responses of its prompt. Promise:
no value is written anew, no field is lost, no response counts twice where it has an id, and
responses that disagree about prompt or ground truth never become one rollout.
"""
