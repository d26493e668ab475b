#!lua flags=allow-oom
-- Report a scheduler as alive, take or keep the lead, and with the lead RQ's scheduler lock of each queue.
-- Schedulers of several releases may live side by side: those whose declarations came last lead, the others give way.
-- ARGV: prefix, token (its end, '#' and hexadecimal digits, stands for the declarations), milliseconds the locks live,
--       seconds until a silent scheduler is forgotten, when these declarations were first seen ('' for now), queue names...
-- Returns {seconds, microseconds, lead, newest, first seen, each queue...}. A lock is 0: another's, 1: taken now, 2: kept;
-- newest is 1 unless a scheduler that is not forgotten has declarations that came later.
local P, token, life, forget = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local time = redis.call('TIME')
local now, text = tonumber(time[1]) + tonumber(time[2]) / 1000000, time[1] .. '.' .. string.format('%06d', time[2])
local schedulers, declared, lock = P .. ':fleet:schedulers', P .. ':fleet:scheduler:declared', P .. ':scheduler_lock'
local mine = token:match('#(%x+)$') or ''

-- A lock of one of ours that lives longer than it was given is from before Redis' clock was put back: whoever lives has
-- renewed it, or finds another's next time.
local function is_from_the_future(lock, owner)
  return owner:find('#%x+$') and redis.call('PTTL', lock) > tonumber(life)
end

local function take_or_keep(lock)
  local owner = redis.call('GET', lock)
  if owner == token then
    redis.call('PEXPIRE', lock, life)
    return 2
  elseif owner and not is_from_the_future(lock, owner) then
    return 0
  end
  redis.call('SET', lock, token, 'PX', life)
  return 1
end

local function give_up(lock)
  if redis.call('GET', lock) == token then
    redis.call('DEL', lock)
  end
  return 0
end

-- Of the declarations of the schedulers that gave a sign of life in that time, those that came last.
local function newest_between(first, last)
  local newest, at = mine, tonumber(redis.call('ZSCORE', declared, mine))
  for _, scheduler in ipairs(redis.call('ZRANGEBYSCORE', schedulers, first, last)) do
    local theirs = scheduler:match('#(%x+)$')
    local seen = theirs and tonumber(redis.call('ZSCORE', declared, theirs) or '')
    if seen and (seen > at or (seen == at and theirs > newest)) then
      newest, at = theirs, seen
    end
  end
  return newest
end

local function forget_declarations()
  local known = {}
  for _, scheduler in ipairs(redis.call('ZRANGE', schedulers, 0, -1)) do
    known[scheduler:match('#(%x+)$') or ''] = true
  end
  for _, each in ipairs(redis.call('ZRANGE', declared, 0, -1)) do
    if not known[each] then
      redis.call('ZREM', declared, each)
    end
  end
end

redis.call('ZADD', schedulers, text, token)
redis.call('ZREMRANGEBYSCORE', schedulers, '-inf', tonumber(time[1]) - forget)
redis.call('EXPIRE', schedulers, forget)
redis.call('ZADD', declared, 'LT', ARGV[5] == '' and text or ARGV[5], mine)
forget_declarations()
redis.call('EXPIRE', declared, forget)

-- A sign of life from the future is one from before Redis' clock was put back.
local leads = newest_between(now - tonumber(life) / 1000, text) == mine
local lead = leads and take_or_keep(lock) or give_up(lock)
local is_newest = newest_between('-inf', '+inf') == mine and 1 or 0
local out = {tonumber(time[1]), tonumber(time[2]), lead, is_newest, redis.call('ZSCORE', declared, mine)}
for at = 6, #ARGV do
  local queue_lock = P .. ':scheduler-lock:' .. ARGV[at]
  out[#out + 1] = lead > 0 and take_or_keep(queue_lock) or (leads and 0 or give_up(queue_lock))
end
return out
