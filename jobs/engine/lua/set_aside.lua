#!lua flags=allow-oom
-- Take an id out of a schedule whose job can't be read; the job's key stays as it is. Safe to repeat.
-- ARGV: prefix, the schedule's key after the prefix, id, the reason.
--include lib_set_aside
local P, schedule, id, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call('ZREM', P .. ':' .. schedule, id)
put_aside(P, id, schedule, reason, redis.call('TIME')[1])
