"""A run as one HTML file, to look at and send on.

In: the report of a run, and a few rollouts whose texts are read again. Out: a page that any browser
opens. Promise: it shows the numbers of the summary and the manifest, no text in it can do anything
or hide anything, and it asks for nothing from anywhere.
"""
