#!lua flags=allow-oom
-- A breaker's state in one step: closed, open (its lane's jobs wait), half_open (a probe runs). Safe to repeat but for a
-- failure that is told twice, which counts twice.
-- ARGV: prefix, LANE/PROVIDER, what happened (failed, worked, open: by hand, close: by hand, look), failures that open it
--       (0: none do), ms within which they count, how long (ms) it opens first, how long (ms) at most, how long (ms) the
--       provider or the hand asked for, why (a short text).
-- Returns {state, until when (ms) nothing of the lane begins or 0, how long (ms) that is from now, the state before}.
--include lib_events
local P, name, what, enough, within = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local first_ms, longest_ms, asked_ms, reason = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local key, all, MOST, ONE_DAY_MS = P .. ':fleet:breaker:' .. name, P .. ':fleet:breakers', 200, 86400000
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local till = tonumber(redis.call('ZSCORE', all, name) or '0')
local known = redis.call('HMGET', key, 'state', 'failures', 'failing_since', 'times')
-- A breaker whose time is over lets a probe begin; what else tells how its provider is does as well.
local state = till > 0 and ((known[1] == 'half_open' or till <= ms) and 'half_open' or 'open') or 'closed'
local before = state

local function text(number)
  return string.format('%.0f', number)
end

-- Workers look at once: they shut the lane, take back what has not begun, or go on.
local function change(to)
  local lane, provider = name:match('^(.*)/(.*)$')
  local data = {lane = lane, provider = provider, state = to, reason = reason, until_ms = till > 0 and till or nil}
  emit(P, ':breakers:fleet', 'breaker:' .. to, cjson.encode(data))
  redis.call('PUBLISH', P .. ':fleet:filed', 'breakers')
  state = to
end

local function open()
  if state == 'closed' and redis.call('ZCARD', all) >= MOST then
    return
  end
  local times = state == 'closed' and 0 or tonumber(known[4] or '0') or 0
  local wanted = ms + math.min(math.max(math.min(first_ms * 2 ^ times, longest_ms), asked_ms), ONE_DAY_MS)
  till = state == 'open' and math.max(till, wanted) or wanted -- never shorter than what was asked for before
  redis.call('ZADD', all, text(till), name)
  redis.call('PERSIST', key)
  redis.call('HDEL', key, 'failures', 'failing_since')
  redis.call('HSET', key, 'state', 'open', 'times', math.min(times + 1, 30), 'reason', reason, 'opened_at', text(ms))
  if state == 'closed' then
    redis.call('HSET', key, 'since', text(ms))
  end
  change('open')
end

local function close()
  till = 0
  redis.call('ZREM', all, name)
  redis.call('UNLINK', key)
  change('closed')
end

local function count_failure()
  local since = tonumber(known[3] or '0') or 0
  local failures = ms - since <= within and (tonumber(known[2] or '0') or 0) + 1 or 1
  if asked_ms > 0 or (enough > 0 and failures >= enough) then
    return open()
  end
  redis.call('HSET', key, 'failures', failures, 'failing_since', failures == 1 and text(ms) or known[3])
  redis.call('PEXPIRE', key, within)
end

if what == 'open' or (what == 'failed' and state == 'half_open') then
  open()
elseif what == 'failed' and state == 'closed' then
  count_failure()
elseif what == 'failed' and asked_ms > 0 and ms + asked_ms > till then
  till = ms + math.min(asked_ms, ONE_DAY_MS)
  redis.call('ZADD', all, text(till), name)
elseif what == 'close' and state ~= 'closed' or (what == 'worked' and state == 'half_open') then
  close()
elseif what == 'worked' and known[2] then
  redis.call('HDEL', key, 'failures', 'failing_since')
end
return {state, till, math.max(0, till - ms), before}
