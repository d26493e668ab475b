-- A job that waited is cancelled: its status, its registry, and for how long what there is of it stays.
local function end_cancelled(P, id, key, queue, durable, unique, keep, at)
  redis.call('HSET', key, 'status', 'canceled', 'ended_at', at.now, 'final', '1', 'error', '')
  redis.call('ZADD', P .. ':canceled:' .. queue, at.seconds + keep, id)
  keep = durable and LEDGER_KEPT or keep
  redis.call('EXPIRE', key, keep)
  redis.call('EXPIRE', P .. ':results:' .. id, keep)
  redis.call('EXPIRE', P .. ':fleet:log:' .. id, keep)
  redis.call('DEL', P .. ':fleet:checkpoint:' .. id)
  -- Of a durable one the ledger's row may be run again when its hash is gone.
  if not durable then
    redis.call('EXPIRE', P .. ':fleet:steps:' .. id, keep)
  end
  if unique and redis.call('GET', P .. ':fleet:unique:' .. unique) == id then
    redis.call('DEL', P .. ':fleet:unique:' .. unique)
  end
end

local function leave_places(P, id, queue, gates, filed, at, quick)
  if not quick and redis.call('LLEN', P .. ':queue:' .. queue) <= LONGEST_SEARCH then
    redis.call('LREM', P .. ':queue:' .. queue, 1, id)
  end
  leave_line(P, id, queue, gates, filed, at.ms)
  for _, kind in ipairs({'scheduled', 'deferred', 'ready'}) do
    redis.call('ZREM', P .. ':' .. kind .. ':' .. queue, id)
  end
end

-- Cancelling one job: at once while it waits, by asking its worker while it runs. Returns cancelled, asked, missing, or the
-- state that forbids it. `quick` leaves its id in the queue's list, where it is dropped when it is met.
local function cancel_job(P, id, windows, keep, at, quick)
  local key = P .. ':job:' .. id
  local status, queue, worker, topics, job_type, unique, attempts, gates, filed, durable = unpack(
    redis.call('HMGET', key, 'status', 'origin', 'worker_name', 'topics', 'type', 'unique_key', 'attempts', 'gates', 'filed',
      'ledger'))
  queue, worker = queue or 'default', worker or ''
  -- The hash decides: RQ's tools may have deleted a job that was set aside, and another of its id run by now.
  local quarantined = redis.call('HEXISTS', key, 'quarantined') == 1
  redis.call('ZREM', P .. ':fleet:quarantine', id)
  if not status and not (quarantined and redis.call('EXISTS', key) == 1) then
    return 'missing'
  end
  if quarantined then
    redis.call('HDEL', P .. ':fleet:quarantine:reasons', id)
    redis.call('HDEL', key, 'quarantined')
    status = 'queued'
  end
  if status == 'started' then
    redis.call('HSET', key, 'cancel_requested', at.now)
    redis.call('PUBLISH', P .. ':pubsub:' .. worker, cjson.encode({command = 'cancel-job', job_id = id}))
    return 'asked'
  end
  if status ~= 'queued' and status ~= 'scheduled' and status ~= 'deferred' and status ~= 'ready_to_enqueue' then
    return status
  end
  leave_places(P, id, queue, gates_of(gates, windows), filed, at, quick)
  end_cancelled(P, id, key, queue, durable, unique, keep, at)
  if durable then
    tell_ledger(id, job_type, 'cancelled', attempts, '', '', at.now)
    send_to_ledger(P)
  end
  if job_type and job_type ~= '' and not durable then
    redis.call('ZADD', P .. ':fleet:ended:cancelled:' .. job_type, at.seconds, id)
  end
  redis.call('HINCRBY', P .. ':fleet:counters', 'cancelled:' .. (job_type or ''), 1)
  job_event(P, id, topics, 'job:cancelled', {type = job_type or '', attempt = tonumber(attempts or '0')})
  return 'cancelled'
end
