#!lua flags=allow-oom
-- Report a scheduler as alive, take or keep the lead, and with the lead RQ's scheduler lock of each queue.
-- ARGV: prefix, token, milliseconds the locks live, seconds until a silent scheduler is forgotten, queue names...
-- Returns {seconds, microseconds, lead, each queue...}; a lock is 0: another's, 1: taken now, 2: kept.
local P, token, life, forget = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local time = redis.call('TIME')
local schedulers = P .. ':fleet:schedulers'

local function take_or_keep(lock)
  local owner = redis.call('GET', lock)
  if owner == token then
    redis.call('PEXPIRE', lock, life)
    return 2
  elseif owner then
    return 0
  end
  redis.call('SET', lock, token, 'PX', life)
  return 1
end

redis.call('ZADD', schedulers, time[1] .. '.' .. string.format('%06d', time[2]), token)
redis.call('ZREMRANGEBYSCORE', schedulers, '-inf', tonumber(time[1]) - forget)
redis.call('EXPIRE', schedulers, forget)

local lead = take_or_keep(P .. ':scheduler_lock')
local out = {tonumber(time[1]), tonumber(time[2]), lead}
for at = 5, #ARGV do
  out[#out + 1] = lead > 0 and take_or_keep(P .. ':scheduler-lock:' .. ARGV[at]) or 0
end
return out
