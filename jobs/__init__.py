"""The background half: how jobs run (engine), the outside world (adapters) and what jobs do (domains)."""

__version__ = "0.1.0"
