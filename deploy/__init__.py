"""How the processes are started: locally by bin/run, and in production."""
