#!lua flags=allow-oom
-- Look for jobs that RQ's registries of failed jobs have and that are no dead letters: RQ's own clean-up failed them, as their
-- stock worker had died, or they were plain RQ jobs on one. Goes round the registries, so many entries of each a call.
-- ARGV: prefix, seconds and number of letters that are kept, at about how many entries of a registry to look, seconds for which
--       one look is enough, whichever worker takes it.
-- Returns what was found: id, type, RQ's traceback and the time of death (epoch seconds) of each.
--include lib_dead_letters
--include lib_epoch
local P, age, most, look_at = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local places, index = P .. ':fleet:dead-letters:places', P .. ':fleet:dead-letters'
local now, found, PLACES_KEPT = tonumber(redis.call('TIME')[1]), {}, 86400

-- No queue has this name.
local LAST = ''
if tonumber(redis.call('HGET', places, LAST) or '0') + tonumber(ARGV[5]) > now then
  return {}
end
redis.call('HSET', places, LAST, now)

-- What is older would leave again at once.
local since = now - age
if redis.call('ZCARD', index) >= most then
  since = math.max(since, tonumber(redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2] or '0'))
end

-- In base64, as RQ writes it.
local function traceback_of(id)
  local last = redis.pcall('XREVRANGE', P .. ':results:' .. id, '+', '-', 'COUNT', 1)
  local fields = not last.err and last[1] and last[1][2] or {}
  for n = 1, #fields, 2 do
    if fields[n] == 'exc_string' then
      return fields[n + 1]
    end
  end
  return ''
end

local function consider(id)
  local head = redis.pcall('HMGET', P .. ':job:' .. id, 'status', 'quarantined', 'type', 'ended_at')
  if head.err or not is_letter(head[1], head[2]) or redis.call('HEXISTS', P .. ':fleet:dead-letters:known', id) == 1 then
    return
  end
  local died_at = epoch_of(head[4]) or now .. ''
  if tonumber(died_at) > since then
    found[#found + 1] = {id, head[3] or '', traceback_of(id), died_at}
  end
end

for _, list in ipairs(redis.call('SMEMBERS', P .. ':queues')) do
  local queue = list:sub(#P + #':queue:' + 1)
  local reply = redis.pcall('ZSCAN', P .. ':failed:' .. queue, redis.call('HGET', places, queue) or '0', 'COUNT', look_at)
  if not reply.err then
    redis.call('HSET', places, queue, reply[1])
    for n = 1, #reply[2], 2 do
      consider(reply[2][n])
    end
  end
end
redis.call('EXPIRE', places, PLACES_KEPT)
return found
