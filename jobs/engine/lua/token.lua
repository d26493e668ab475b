-- The fencing token of a run: higher than that of every run of the job before it, and it stays the same for the run.
-- ARGV: prefix, id, execution, 1 where its lease is checked, seconds to keep.
-- It is Redis' clock in microseconds, so that tokens keep growing when Redis has forgotten the last one.
-- Returns the token, missing for a job that is gone, or stale for a run whose lease is gone.
--include lib_leases
local P, id, execution = ARGV[1], ARGV[2], ARGV[3]
local steps = P .. ':fleet:steps:' .. id
if ARGV[4] == '1' and not is_leased(P, id, execution) then
  return 'stale'
end
if redis.call('EXISTS', P .. ':job:' .. id) == 0 then
  return 'missing'
end
local holder, last = unpack(redis.call('HMGET', steps, 'holder', 'token'))
if holder == execution then
  return last
end
local time = redis.call('TIME')
local token = tonumber(time[1]) * 1000000 + tonumber(time[2])
token = string.format('%.0f', math.max(token, (tonumber(last) or 0) + 1))
redis.call('HSET', steps, 'holder', execution, 'token', token)
redis.call('EXPIRE', steps, ARGV[5])
redis.call('HSET', P .. ':job:' .. id, 'checkpoint', '1')
return token
