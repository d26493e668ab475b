"""Jobs that write down when they begin and end, loaded into workers by JOB_MODULES."""
