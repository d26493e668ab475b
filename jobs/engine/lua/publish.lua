-- One event that is not part of a job's life. ARGV: prefix, topic with its tenant, name, data (JSON). Returns its id.
-- Sent again after a lost answer it makes a second entry: events say what is so, they are no counters.
--include lib_events
return emit(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
