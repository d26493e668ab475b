"""Workflows: chains, groups and graphs of jobs that wait for each other; see `build.Workflow`."""
