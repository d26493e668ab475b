-- The fencing token of a run: higher than that of every run of any job before it, and it stays the same for the run.
-- ARGV: prefix, id, execution, 1 where its lease is checked, the job's nonce or '', seconds to keep, the last token that is
--       reserved and one that no token was higher than so far, or twice ''.
-- It is Redis' clock in microseconds, or one more than the last: where the clock is behind that, a host with another clock
-- has taken over, which may not know of the last moments either. An empty Redis knows no last one, and asks.
-- Returns the token, missing for a job that is gone, stale for a run whose lease is gone, or `reserve TOKEN` where none is
-- given before tokens are reserved up to that one.
--include lib_leases
--include lib_steps
local P, id, execution, LOST = ARGV[1], ARGV[2], ARGV[3], 2000000
local tokens = P .. ':fleet:tokens'
if ARGV[4] == '1' and not is_leased(P, id, execution) then
  return 'stale'
end
if redis.call('EXISTS', P .. ':job:' .. id) == 0 then
  return 'missing'
end
local steps = steps_of(P, id, ARGV[5])
local holder, known = unpack(redis.call('HMGET', steps, 'holder', 'token'))
if holder == execution then
  return known
end

local last, reserved, behind = unpack(redis.call('HMGET', tokens, 'last', 'reserved', 'behind'))
last = math.max(tonumber(last) or 0, tonumber(ARGV[8]) or 0, tonumber(known) or 0)
reserved = math.max(tonumber(reserved) or 0, tonumber(ARGV[7]) or 0)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local is_behind = now < last
local token = math.max(now, last + ((is_behind and not behind) and LOST or 1))
if token > reserved then
  return 'reserve ' .. string.format('%.0f', token)
end
token = string.format('%.0f', token)
redis.call('HSET', tokens, 'last', token, 'reserved', string.format('%.0f', reserved))
if is_behind then
  redis.call('HSET', tokens, 'behind', '1')
elseif behind then
  redis.call('HDEL', tokens, 'behind')
end
redis.call('HSET', steps, 'holder', execution, 'token', token)
redis.call('EXPIRE', steps, ARGV[6])
redis.call('HSET', P .. ':job:' .. id, 'checkpoint', '1')
return token
