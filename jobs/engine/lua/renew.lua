#!lua flags=allow-oom
-- Renew a worker's own life and the leases it holds.
-- ARGV: prefix, worker, now (RFC 3339), lease (ms), RQ horizon (s), state, worker hash lifetime (s), queues (JSON list),
--       then for each run: id, execution, queue.
-- Returns {lost runs' executions, executions whose cancellation was asked for, how many ids lie in its own inboxes}.
--include lib_events
--include lib_leases
--include lib_starts
local P, worker, now = ARGV[1], ARGV[2], ARGV[3]
local lease_ms, horizon = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local seconds, ms = tonumber(time[1]), tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local me = P .. ':worker:' .. worker
redis.call('ZADD', P .. ':fleet:workers', ms + lease_ms, worker)
redis.call('SREM', P .. ':fleet:dead', worker)
redis.call('HSET', P .. ':fleet:worker-queues', worker, ARGV[8])
-- What is RQ's may be another kind of key by now: no lease ends for that.
redis.pcall('HSET', me, 'last_heartbeat', now, 'state', ARGV[6], 'queues', table.concat(cjson.decode(ARGV[8]), ','))
redis.pcall('SADD', P .. ':workers', me)
redis.call('EXPIRE', me, ARGV[7])

local lost, cancelled, waiting = {}, {}, 0

-- Whether the job is still this run's: RQ may have cancelled or deleted it, or another run may have begun.
local function ours(id, execution)
  local head = redis.pcall('HMGET', P .. ':job:' .. id, 'status', 'execution')
  return not head.err and head[1] == 'started' and head[2] == execution
end

-- RQ's own record of a run, written first here: a run that has ended by then needs none.
local function record(id, execution, queue, member)
  local key = P .. ':execution:' .. member
  if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 'id', execution, 'job_id', id, 'created_at', seconds, 'worker_name', worker, 'queue', queue)
    redis.call('SADD', me .. ':executions', member)
  end
  redis.call('HSET', key, 'last_heartbeat', seconds)
  redis.call('EXPIRE', key, horizon)
  redis.call('ZADD', P .. ':executions:' .. id, seconds + horizon, execution)
  redis.call('EXPIRE', P .. ':executions:' .. id, horizon)
end

for at = 9, #ARGV, 3 do
  local id, execution, queue = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local member = id .. ':' .. execution
  local held = redis.call('ZSCORE', P .. ':fleet:leases', member) or letter_of(P, id, execution)
  if held and ours(id, execution) then
    if held == 'u' or held == 't' then
      lease_apart(P, id, execution, queue, held, ms + lease_ms, seconds + horizon)
    end
    redis.call('ZADD', P .. ':fleet:leases', 'XX', ms + lease_ms, member)
    redis.pcall('ZADD', P .. ':wip:' .. queue, 'XX', seconds + horizon, member)
    pcall(record, id, execution, queue, member)
    local key = P .. ':job:' .. id
    redis.call('HSET', key, 'last_heartbeat', now)
    if redis.call('HGET', key, 'cancel_requested') then
      cancelled[#cancelled + 1] = execution
    end
  else
    lost[#lost + 1] = execution
  end
end
redis.call('EXPIRE', me .. ':executions', horizon)
for _, queue in ipairs(cjson.decode(ARGV[8])) do
  waiting = waiting + redis.call('LLEN', P .. ':fleet:inbox:' .. worker .. ':' .. queue)
end
return {lost, cancelled, waiting}
