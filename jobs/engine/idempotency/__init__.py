"""Doing things once: steps of a job that survive its runs, fencing tokens, and writes that may be repeated."""
