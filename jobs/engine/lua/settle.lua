#!lua flags=allow-oom
-- Write the outcomes of several runs, each only while its lease is still this execution's (fencing). Safe to repeat: an
-- outcome that was written before answers 'again'. Jobs whose dependents or other follow-ups are due are recorded.
-- ARGV: prefix, worker, now (RFC 3339), then 17 a run: id, execution, queue, kind, type, return value (base64) or '',
--       traceback (zlib, base64) or '', traceback (zlib) or '', seconds to keep, how many of the type to keep,
--       wait before a retry (s), begun (epoch s), ended (epoch s), event, event data (JSON object), reason, unique lock or ''.
-- Kinds: finished, failed, cancelled, retry, released, lost, quarantined. Returns a word a run: ok, again, stale or refused.
--include lib_events
--include lib_execution
local P, worker, now = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local seconds, settled = tonumber(time[1]), 0
local POISON_DEATHS = 3
local LIVE = {queued = true, started = true, scheduled = true, deferred = true, ready_to_enqueue = true}
local REGISTRY = {finished = 'finished', failed = 'failed', cancelled = 'canceled'}
local STATUS = {finished = 'finished', failed = 'failed', cancelled = 'canceled'}
local RESULT = {finished = '1', failed = '2', cancelled = '3', retry = '4'}
local TRIM_AT_ONCE, FOLLOWED_KEPT = 20, 60
local succeeded, failed, worked = 0, 0, 0

local function drop(id, queue)
  redis.call('DEL', P .. ':job:' .. id, P .. ':results:' .. id, P .. ':fleet:log:' .. id)
  for _, kind in ipairs({'finished', 'failed', 'canceled'}) do
    redis.call('ZREM', P .. ':' .. kind .. ':' .. queue, id)
  end
end

-- Keep the newest `count` of a type; a few at a time, so that one settle never pays for thousands.
local function trim(kind, job_type, count)
  local set = P .. ':fleet:ended:' .. kind .. ':' .. job_type
  local over = redis.call('ZCARD', set) - count
  if over > 0 then
    for _, id in ipairs(redis.call('ZRANGE', set, 0, math.min(over, TRIM_AT_ONCE) - 1)) do
      local status, queue = unpack(redis.call('HMGET', P .. ':job:' .. id, 'status', 'origin'))
      if (not status or status == STATUS[kind]) and not redis.call('ZSCORE', P .. ':fleet:follow-ups', id) then
        drop(id, queue or '')
      end
      redis.call('ZREM', set, id)
    end
  end
end

local function record_result(run)
  local result = RESULT[run.kind]
  local fields = {'type', result, 'worker_name', worker, 'execution_id', run.execution,
    'execution_started_at', run.begun, 'execution_ended_at', run.ended}
  if run.exc_b64 ~= '' then
    fields[#fields + 1] = 'exc_string'
    fields[#fields + 1] = run.exc_b64
  end
  if run.value ~= '' then
    fields[#fields + 1] = 'return_value'
    fields[#fields + 1] = run.value
  end
  redis.call('XADD', P .. ':results:' .. run.id, 'MAXLEN', '10', '*', unpack(fields))
end

local function release_unique(id, unique)
  if unique and unique ~= '' then
    local lock = P .. ':fleet:unique:' .. unique
    if redis.call('GET', lock) == id then
      redis.call('DEL', lock)
    end
  end
end

local function finish(run, key)
  record_result(run)
  redis.call('HSET', key, 'status', STATUS[run.kind], 'ended_at', now, 'settled', run.execution, 'final', '1',
    'error', run.reason)
  redis.call('HDEL', key, 'cancel_requested')
  if run.exc ~= '' then
    redis.call('HSET', key, 'exc_info', run.exc)
  end
  redis.call('ZADD', P .. ':' .. REGISTRY[run.kind] .. ':' .. run.queue, seconds + run.keep, run.id)
  local followed = redis.call('EXISTS', key .. ':dependents') == 1
  if followed then
    redis.call('ZADD', P .. ':fleet:follow-ups', seconds, run.id)
    run.keep = math.max(run.keep, FOLLOWED_KEPT)
  end
  for _, each in ipairs({key, P .. ':results:' .. run.id, P .. ':fleet:log:' .. run.id, key .. ':dependents', key .. ':dependencies'}) do
    redis.call('EXPIRE', each, run.keep)
  end
  if run.type ~= '' then
    settled = settled + 1
    local order = seconds + (tonumber(time[2]) + settled / 1000) / 1000000
    redis.call('ZADD', P .. ':fleet:ended:' .. run.kind .. ':' .. run.type, string.format('%.9f', order), run.id)
    trim(run.kind, run.type, run.count)
  end
  if run.keep == 0 then
    drop(run.id, run.queue)
  end
end

local function retry(run, key)
  record_result(run)
  redis.call('HSET', key, 'settled', run.execution, 'started_at', '', 'worker_name', '', 'error', run.reason)
  redis.call('HDEL', key, 'progress')
  add(key, 'retries_left', -1)
  if run.wait > 0 then
    redis.call('HSET', key, 'status', 'scheduled')
    redis.call('ZADD', P .. ':scheduled:' .. run.queue, string.format('%.6f', seconds + tonumber(time[2]) / 1000000 + run.wait), run.id)
  else
    redis.call('HSET', key, 'status', 'queued', 'enqueued_at', now)
    redis.call('RPUSH', P .. ':queue:' .. run.queue, run.id)
  end
end

-- The child died under the job: no charge, but the third such death quarantines it.
local function lost(run, key)
  redis.call('HSET', key, 'settled', run.execution)
  if add(key, 'deaths', 1) >= POISON_DEATHS then
    quarantine(P, run.id, run.queue, run.reason, seconds)
    run.event, run.data = 'job:failed', run.data:sub(1, -2) .. ',"final":true}'
  else
    give_back(P, run.id, run.queue, now)
    run.event = 'job:queued'
  end
end

local function write(run)
  local key, member = P .. ':job:' .. run.id, run.id .. ':' .. run.execution
  if not redis.call('ZSCORE', P .. ':fleet:leases', member) then
    return redis.call('HGET', key, 'settled') == run.execution and 'again' or 'stale'
  end
  end_execution(P, worker, run.queue, run.id, run.execution)
  local status, execution, topics, cancelled = unpack(redis.call('HMGET', key, 'status', 'execution', 'topics', 'cancel_requested'))
  -- RQ may have cancelled or deleted the job meanwhile, and even put another of the same id in its place.
  if status ~= 'started' or execution ~= run.execution then
    if not LIVE[status or ''] then
      release_unique(run.id, run.unique)
    end
    return 'stale'
  end
  if cancelled and (run.kind == 'retry' or run.kind == 'released' or run.kind == 'lost') then
    run.kind, run.event = 'cancelled', 'job:cancelled'
  end
  if REGISTRY[run.kind] then
    finish(run, key)
    release_unique(run.id, run.unique)
  elseif run.kind == 'retry' then
    retry(run, key)
  elseif run.kind == 'released' then
    redis.call('HSET', key, 'settled', run.execution)
    give_back(P, run.id, run.queue, now)
  elseif run.kind == 'lost' then
    lost(run, key)
  else
    redis.call('HSET', key, 'settled', run.execution)
    quarantine(P, run.id, run.queue, run.reason, seconds)
  end
  if topics and topics ~= '' and run.event ~= '' then
    pcall(emit, P, topics, run.event, run.data)
  end
  redis.call('HINCRBY', P .. ':fleet:counters', run.kind .. ':' .. run.type, 1)
  succeeded = succeeded + (run.kind == 'finished' and 1 or 0)
  failed = failed + ((run.kind == 'failed' or run.kind == 'retry') and 1 or 0)
  worked = worked + tonumber(run.ended) - tonumber(run.begun)
  return 'ok'
end

-- One outcome that can't be written must not keep the others from being written: its job is set aside.
local function settle(run)
  local ok, answer = pcall(write, run)
  if not ok then
    pcall(quarantine, P, run.id, run.queue, 'its outcome could not be written: ' .. tostring(answer), seconds)
    return 'refused'
  end
  return answer
end

local out = {}
for at = 4, #ARGV, 17 do
  out[#out + 1] = settle({id = ARGV[at], execution = ARGV[at + 1], queue = ARGV[at + 2], kind = ARGV[at + 3],
    type = ARGV[at + 4], value = ARGV[at + 5], exc_b64 = ARGV[at + 6], exc = ARGV[at + 7],
    keep = tonumber(ARGV[at + 8]), count = tonumber(ARGV[at + 9]), wait = tonumber(ARGV[at + 10]), begun = ARGV[at + 11],
    ended = ARGV[at + 12], event = ARGV[at + 13], data = ARGV[at + 14], reason = ARGV[at + 15], unique = ARGV[at + 16]})
end
local me = P .. ':worker:' .. worker
if redis.call('EXISTS', me) == 1 then
  redis.pcall('HINCRBY', me, 'successful_job_count', succeeded)
  redis.pcall('HINCRBY', me, 'failed_job_count', failed)
  redis.pcall('HINCRBYFLOAT', me, 'total_working_time', string.format('%.6f', worked))
end
return out
