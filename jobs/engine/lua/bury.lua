#!lua flags=allow-oom
-- A job has failed for good that no FleetWorker settled: enter its dead letter. On a stock worker that is before RQ writes
-- the outcome, from which on it counts. Sent again after a lost reply it does nothing.
-- ARGV: prefix, id, type, what the letter says (JSON: error, text, fingerprint, spent), what tells this call from others, or
--       ''; time of death (epoch seconds) of a job that is found failed, and enters only if it is no letter yet, or ''.
--include lib_dead_letters
local P, id, job_type, letter, call, died_at = ARGV[1], ARGV[2], ARGV[3], cjson.decode(ARGV[4]), ARGV[5], ARGV[6]
local key, time = P .. ':job:' .. id, redis.call('TIME')
local status, quarantined, buried = unpack(redis.call('HMGET', key, 'status', 'quarantined', 'buried'))
local is_known = redis.call('HEXISTS', P .. ':fleet:dead-letters:known', id) == 1
if call ~= '' and buried == call then
  return
elseif died_at ~= '' and (is_known or not is_letter(status, quarantined)) then
  return
end
if call ~= '' then
  redis.call('HSET', key, 'buried', call)
end
bury(P, id, job_type, letter, died_at ~= '' and died_at or time[1] .. '.' .. string.format('%06d', time[2]))
if letter.spent then
  count_exhausted(P, id, job_type, tonumber(time[1]))
end
