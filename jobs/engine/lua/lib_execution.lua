-- What begins and ends a run: RQ's execution records and our lease.
--include lib_ledger
--include lib_leases
local function end_execution(P, worker, queue, id, execution)
  local member = id .. ':' .. execution
  redis.call('ZREM', P .. ':fleet:leases', member)
  mark_in_batch(P, id, execution, '-')
  redis.call('ZREM', P .. ':wip:' .. queue, member)
  redis.call('DEL', P .. ':execution:' .. member)
  redis.call('ZREM', P .. ':executions:' .. id, execution)
  redis.call('SREM', P .. ':worker:' .. worker .. ':executions', member)
end

-- End a run in its worker's stead; `worker` is whose it is if RQ's record does not say so. Before the first renewal there
-- is no record to name the queue it came from either, and an entry left in `wip` would let RQ take the next run for lost.
-- Returns that queue if it is known.
local function end_abandoned(P, worker, id, execution)
  local member = id .. ':' .. execution
  local recorded, queue = unpack(redis.call('HMGET', P .. ':execution:' .. member, 'worker_name', 'queue'))
  for _, each in ipairs(queue and {} or redis.call('SMEMBERS', P .. ':queues')) do
    redis.call('ZREM', P .. ':wip:' .. each:sub(#P + #':queue:' + 1), member)
  end
  end_execution(P, recorded or worker or '', queue or '', id, execution)
  return queue
end

-- HINCRBY for a field that anybody may have filled with anything; returns the new number.
local function add(key, field, by)
  local sum = (tonumber(redis.call('HGET', key, field) or '0') or 0) + by
  redis.call('HSET', key, field, string.format('%d', sum))
  return sum
end

-- Give a job back to the front of its queue, as if that run had never begun.
local function give_back(P, id, queue, now)
  local key = P .. ':job:' .. id
  redis.call('HSET', key, 'status', 'queued', 'enqueued_at', now, 'started_at', '', 'worker_name', '', 'given_back', '1')
  add(key, 'attempts', -1)
  redis.call('HDEL', key, 'progress')
  redis.call('LPUSH', P .. ':queue:' .. queue, id)
end

-- Set a job aside, unread and restorable: out of every list, its hash kept as it is but for the reason, for 30 days.
-- Returns whether that has a follow-up: the slot of a rate limit of RQ, or its workflow.
local QUARANTINE_KEPT = 30 * 86400
local function quarantine(P, id, queue, reason, seconds)
  local key = P .. ':job:' .. id
  redis.call('ZADD', P .. ':fleet:quarantine', seconds, id)
  redis.call('HSET', P .. ':fleet:quarantine:reasons', id, cjson.encode({queue = queue, reason = reason}))
  if redis.call('TYPE', key).ok == 'hash' then
    redis.call('HSET', key, 'quarantined', reason)
    redis.call('EXPIRE', key, QUARANTINE_KEPT)
    redis.call('EXPIRE', P .. ':results:' .. id, QUARANTINE_KEPT)
    local limit, durable, job_type, attempts, worker, started, workflow = unpack(
      redis.call('HMGET', key, 'rate_limit_key', 'ledger', 'type', 'attempts', 'worker_name', 'started_at', 'workflow'))
    local followed = (limit or '') ~= '' or workflow
    if durable then
      local about = cjson.encode({type = 'Quarantined', message = reason})
      tell_ledger(id, job_type, 'quarantined', attempts, worker, started, seconds .. '', about)
    end
    if followed then
      redis.call('ZADD', P .. ':fleet:follow-ups', seconds, id .. ':')
    end
    local lock = P .. ':fleet:unique:' .. (redis.call('HGET', key, 'unique_key') or '')
    if redis.call('GET', lock) == id then
      redis.call('DEL', lock)
    end
    return followed
  end
end

local function job_event(P, id, topics, name, extra)
  if topics and topics ~= '' then
    extra.job_id = id
    pcall(emit, P, topics, name, cjson.encode(extra))
  end
end
