#!lua flags=allow-oom
-- Move due jobs of one queue from RQ's scheduled registry to its list, while RQ's scheduler lock of the queue is ours.
-- Only what is still `scheduled` moves; cancelled and deleted ids are dropped, unreadable ones put aside.
-- ARGV: prefix, token, queue, how many, now as the scheduler knows it (RFC 3339, epoch seconds): what is not due then, waits.
-- Returns {1 if the lock is ours, looked at, moved, next due (epoch seconds) or '', {ids with RQ's rate limit}, {unreadable ids}}.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_set_aside
local P, token, queue, limit, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local registry, list = P .. ':scheduled:' .. queue, P .. ':queue:' .. queue
local time = redis.call('TIME')
local seconds = time[1] .. '.' .. string.format('%06d', time[2])
local until_then = tonumber(ARGV[6]) < tonumber(seconds) and ARGV[6] or seconds
local ms, moved, limited, unreadable = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), 0, {}, {}

local function set_aside(id)
  put_aside(P, id, 'scheduled:' .. queue, 'its key holds no hash', seconds)
  unreadable[#unreadable + 1] = id
end

-- RQ's Job.should_enqueue_at_front.
local function goes_first(front, front_on_retry, ended)
  return front == '1' or (front_on_retry == '1' and (ended or '') ~= '')
end

local function hand_over(id, key, front, ttl, gates)
  redis.call('HSET', key, 'status', 'queued', 'enqueued_at', now, 'origin', queue)
  if tonumber(ttl or '') then
    redis.call('EXPIRE', key, ttl)
  end
  redis.call('SADD', P .. ':queues', list)
  if not gates or arrive(P, id, queue, gates_of(gates), 1, front, ms) then
    redis.call(front and 'LPUSH' or 'RPUSH', list, id)
  end
  moved = moved + 1
end

local function move(id)
  local key = P .. ':job:' .. id
  local hash = redis.pcall('HMGET', key, 'status', 'rate_limit_key', 'enqueue_at_front', 'enqueue_at_front_on_retry',
    'ended_at', 'ttl', 'topics', 'type', 'attempts', 'gates')
  if not hash.err and hash[1] == 'scheduled' and (hash[2] or '') ~= '' then
    limited[#limited + 1] = id
    return
  end
  redis.call('ZREM', registry, id)
  if hash.err then
    set_aside(id)
  elseif hash[1] == 'scheduled' then
    hand_over(id, key, goes_first(hash[3], hash[4], hash[5]), hash[6], hash[10])
    job_event(P, id, hash[7], 'job:queued', {type = hash[8] or '', attempt = tonumber(hash[9] or '') or 0})
  end
end

return tell_together(function()
  if redis.call('GET', P .. ':scheduler-lock:' .. queue) ~= token then
    return {0, 0, 0, '', {}, {}}
  end
  local due = redis.call('ZRANGEBYSCORE', registry, '-inf', until_then, 'LIMIT', 0, limit)
  for _, id in ipairs(due) do
    move(id)
  end
  local following = redis.call('ZRANGEBYSCORE', registry, '(' .. until_then, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return {1, #due, moved, following[2] or '', limited, unreadable}
end)
