"""The background half: how jobs run (engine), the outside world (adapters) and what jobs do (domains)."""
