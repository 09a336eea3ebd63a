"""The messages of a prompt: what they hold, the text of a chat template, hashes that know a prompt.

In: values as JSON has them, or messages that were checked. Out: texts, turns, 64-bit hashes.
Promise: two prompts have one hash where they ask the same, in every process and on every day;
nothing here opens a file or refuses a line.
"""
