-- What jobs of plain RQ clients have and jobs of our types never have.

-- Whether something follows the end of a run besides its dependents: RQ's webhooks, rate limit or repeats.
local function has_foreign_follow_ups(key)
  local fields = redis.call('HMGET', key, 'webhooks', 'rate_limit_key', 'repeats_left')
  return (fields[1] or '') ~= '' or (fields[2] or '') ~= '' or (tonumber(fields[3] or '') or 0) > 0
end

-- A run begins (field 2 is its job's type): RQ's `ttl` is for the time in the queue, and the worker has to know how long
-- its callbacks (fields 17 to 19) may take, which goes behind the first `told` fields.
local function prepare_foreign_run(key, fields, told)
  if (fields[2] or '') ~= '' then
    return
  end
  redis.call('PERSIST', key)
  if (fields[17] or '') .. (fields[18] or '') .. (fields[19] or '') ~= '' then
    local times = redis.call('HMGET', key, 'success_callback_timeout', 'failure_callback_timeout', 'stopped_callback_timeout')
    for n = 1, 3 do
      fields[told + n] = times[n]
    end
  end
end

-- A retry as RQ's scheduler and clients expect it: it has run before, and it may go to the front and expire while it waits.
-- `returned`: the job gave back a Retry, which spends none of the retries it was enqueued with.
local function prepare_foreign_retry(key, returned, front, now)
  redis.call('HSET', key, 'ended_at', now)
  if returned then
    add(key, 'number_of_retries', 1)
  end
  if front then
    redis.call('HSET', key, 'enqueue_at_front_on_retry', '1')
  end
  local ttl = tonumber(redis.call('HGET', key, 'ttl') or '')
  if ttl and ttl > 0 then
    redis.call('EXPIRE', key, string.format('%d', ttl))
  end
end
