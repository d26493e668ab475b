#!lua flags=allow-oom
-- Have a job go before others: a delayed one, or one that waits for its retry, to its queue now; one that waits in a queue to
-- its front. Limits, turns and rate windows hold for it as for all others. Safe to repeat.
-- ARGV: prefix, id, now (RFC 3339), 1 for the front or '', the status that it must have or ''.
-- Returns promoted, missing, changed (it has another status), or the state that forbids it.
--include lib_events
--include lib_execution
--include lib_gates
local P, id, now, front, expected = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5]
local key, AT_THE_FRONT = P .. ':job:' .. id, 100
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local status, queue, topics, job_type, attempts, gates, filed, durable, quarantined, failure, limited = unpack(
  redis.call('HMGET', key, 'status', 'origin', 'topics', 'type', 'attempts', 'gates', 'filed', 'ledger', 'quarantined', 'error',
    'rate_limit_key'))
queue = queue or 'default'

-- Take the id out of a list, as far as it is near one of its ends; one that stays is dropped when it is met.
local function take_out(list)
  if redis.call('LPOS', list, id, 'MAXLEN', LONGEST_SEARCH) then
    redis.call('LREM', list, 1, id)
  elseif redis.call('LPOS', list, id, 'RANK', -1, 'MAXLEN', LONGEST_SEARCH) then
    redis.call('LREM', list, -1, id)
  end
end

local function bring_to_the_front(list)
  local place = redis.call('LPOS', list, id, 'MAXLEN', AT_THE_FRONT)
  if place ~= 0 then
    take_out(list)
    redis.call('LPUSH', list, id)
  end
end

local function hand_over()
  redis.call('ZREM', P .. ':scheduled:' .. queue, id)
  redis.call('HSET', key, 'status', 'queued', 'enqueued_at', now)
  redis.call('SADD', P .. ':queues', P .. ':queue:' .. queue)
  if arrive(P, id, queue, gates_of(gates), 1, front, ms) then
    redis.call(front and 'LPUSH' or 'RPUSH', P .. ':queue:' .. queue, id)
  end
  if durable then
    tell_ledger(id, job_type, 'queued', attempts, '', '', '', failure)
    send_to_ledger(P)
  end
  job_event(P, id, topics, 'job:queued', {type = job_type or '', attempt = tonumber(attempts or '') or 0})
end

if quarantined or not status then
  return quarantined and 'quarantined' or 'missing'
elseif expected ~= '' and status ~= expected then
  return 'changed'
elseif status == 'scheduled' and (limited or '') == '' then
  hand_over()
  return 'promoted'
elseif status ~= 'queued' or not front then
  return status
end
if filed and filed ~= '' then
  bring_to_the_front(P .. ':fleet:waiting:' .. queue .. ':' .. filed)
else
  bring_to_the_front(P .. ':queue:' .. queue)
end
return 'promoted'
