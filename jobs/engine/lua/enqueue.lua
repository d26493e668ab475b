-- Accept a batch of jobs. Does nothing for an id that exists, so that it can be sent again.
-- ARGV: prefix, then for each job: id, queue, due (epoch seconds, or '+' and seconds from now, or ''), front ('1' or ''), unique ('TYPE:VALUE' or ''),
--       topics, event data (JSON), number of hash fields and values, then these.
-- Returns for each job {code, id}: 1 accepted, 0 that id exists already, 2 the unique lock is held by the returned id.
--include lib_events
local P = ARGV[1]
local LIVE = {queued = true, started = true, scheduled = true, deferred = true, ready_to_enqueue = true}

local function live_holder(lock)
  local holder = redis.call('GET', lock)
  if holder and LIVE[redis.call('HGET', P .. ':job:' .. holder, 'status') or ''] then
    return holder
  end
  return nil
end

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local LOCK_KEPT = 7 * 86400

local function epoch(due)
  return due:sub(1, 1) == '+' and now + tonumber(due) or tonumber(due)
end

local out, at = {}, 2
while at <= #ARGV do
  local id, queue, due, front = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local unique, topics, data, n = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], tonumber(ARGV[at + 7])
  local key, lock = P .. ':job:' .. id, P .. ':fleet:unique:' .. unique
  local holder = unique ~= '' and live_holder(lock)
  if redis.call('EXISTS', key) == 1 then
    out[#out + 1] = {0, id}
  elseif holder then
    out[#out + 1] = {2, holder}
  else
    redis.call('HSET', key, unpack(ARGV, at + 8, at + 7 + n))
    if unique ~= '' then
      local wait = due ~= '' and math.max(0, epoch(due) - now) or 0
      redis.call('SET', lock, id, 'EX', string.format('%d', LOCK_KEPT + wait))
    end
    redis.call('SADD', P .. ':queues', P .. ':queue:' .. queue)
    if due ~= '' then
      redis.call('ZADD', P .. ':scheduled:' .. queue, string.format('%.6f', epoch(due)), id)
    else
      redis.call(front == '1' and 'LPUSH' or 'RPUSH', P .. ':queue:' .. queue, id)
      emit(P, topics, 'job:queued', data)
    end
    out[#out + 1] = {1, id}
  end
  at = at + 8 + n
end
return out
