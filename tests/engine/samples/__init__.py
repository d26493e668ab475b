"""Job types for the engine's tests, loaded into workers by JOB_MODULES."""
