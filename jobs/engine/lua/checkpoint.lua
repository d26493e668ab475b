-- Keep what a run has reached, so that its next run can go on from there. No allow-oom: a full Redis refuses it.
-- ARGV: prefix, id, execution ('' is not checked against a lease), seconds to keep, checkpoint (JSON).
-- Returns ok, missing for a job that is gone, or stale for a run whose lease is gone.
--include lib_leases
local P, id, execution = ARGV[1], ARGV[2], ARGV[3]
local key = P .. ':job:' .. id
if execution ~= '' and not is_leased(P, id, execution) then
  return 'stale'
end
if redis.call('EXISTS', key) == 0 then
  return 'missing'
end
redis.call('SET', P .. ':fleet:checkpoint:' .. id, ARGV[5], 'EX', ARGV[4])
redis.call('HSET', key, 'checkpoint', '1')
return 'ok'
