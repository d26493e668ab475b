#!lua flags=allow-oom
-- A run on a stock worker has failed for good: enter its dead letter, which counts once RQ has written the outcome.
-- ARGV: prefix, id, type, what the letter says (JSON: error, text, fingerprint, spent).
--include lib_dead_letters
local P, id, job_type, letter = ARGV[1], ARGV[2], ARGV[3], cjson.decode(ARGV[4])
local time = redis.call('TIME')
bury(P, id, job_type, letter, time[1] .. '.' .. string.format('%06d', time[2]))
if letter.spent then
  count_exhausted(P, job_type, tonumber(time[1]))
end
