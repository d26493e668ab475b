"""Jobs without Redis: the same policies over SQL tables, run by a pool of child processes of the web process."""
