-- Part of lease.lua: popped ids that are not handed out now.
-- Where one job was put aside the next ones may be of its kind: a short look is enough for these. True when it was.
-- Whether it still waits at all is seen when it is its turn.
local function put_aside_like_others(id, queue, key, is_filed)
  local looks_at_gates = gates_known and next(gates_known.sent_away)
  local head = redis.pcall('HMGET', key, 'lane', unpack(looks_at_gates and {'gates', 'given_back'} or {}))
  if head.err then
    return false
  end
  local lane = lane_of(head[1])
  if free[lane] < 1 then
    return not is_filed and (file(id, queue, lane) or true)
  end
  return looks_at_gates and not head[3]
    and gates().follows_others(P, id, queue, gates().of(head[2], declared.windows[lane]))
end

-- Somebody put it back while its last run goes on: that run loses its lease, and the job waits until it is over.
local function wait_for_last_run(id, queue, key, execution)
  end_abandoned(P, redis.call('HGET', key, 'worker_name'), id, execution)
  redis.call('HSET', key, 'status', 'scheduled')
  redis.call('ZADD', P .. ':scheduled:' .. queue, seconds + math.ceil(lease_ms / 1000), id)
end

-- What does not wait is passed over; what can't be read is set aside.
local function pass_over(id, queue, key, has_status)
  if not has_status and redis.call('EXISTS', key) == 1 then
    quarantine(P, id, queue, 'the job has no status', seconds)
  end
end

-- Whether a gate keeps the job, which then waits before it.
local function is_held_back(id, queue, lane, fields)
  fields.gates = gates().met(fields[7], declared.windows[lane], declared.counts)
  puts_aside = not gates().may_pass(P, id, queue, fields.gates, fields.given_back, ms)
  return puts_aside
end
