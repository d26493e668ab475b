-- Run an ended job again, by hand: its attempts start anew.
-- ARGV: prefix, id, now (RFC 3339), retries (a plain RQ client's job has those that it was sent with), the execution whose outcome it ended with or '' for whatever that is, who wants it.
-- Returns again, missing, held:ID (its unique lock), changed (it ran and ended anew since), part
-- (of a workflow, which has to be replayed), or the state that forbids it.
--include lib_dead_letters
--include lib_events
--include lib_execution
--include lib_gates
local P, id, now, STEPS_KEPT = ARGV[1], ARGV[2], ARGV[3], 90 * 86400
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local key = P .. ':job:' .. id
local status, queue, topics, job_type, unique, quarantined = unpack(
  redis.call('HMGET', key, 'status', 'origin', 'topics', 'type', 'unique_key', 'quarantined'))
local execution, settled = unpack(redis.call('HMGET', key, 'execution', 'settled'))
execution = execution or ''
queue = queue or 'default'
if redis.call('HEXISTS', key, 'workflow') == 1 then
  return 'part'
end
local ENDED = {failed = true, canceled = true, stopped = true}
if not status and not quarantined then
  return 'missing'
end
if not ENDED[status] and not quarantined then
  return status
end
if ARGV[5] ~= '' and settled ~= ARGV[5] then
  return 'changed'
end
if is_leased(P, id, execution) then
  return 'started'
end
if unique and unique ~= '' then
  local holder = redis.call('GET', P .. ':fleet:unique:' .. unique)
  if holder and holder ~= id then
    local state = redis.pcall('HGET', P .. ':job:' .. holder, 'status')
    if state == 'queued' or state == 'started' or state == 'scheduled' or state == 'deferred' then
      return 'held:' .. holder
    end
  end
  redis.call('SET', P .. ':fleet:unique:' .. unique, id, 'EX', 7 * 86400)
end
local retries = ARGV[4]
if not job_type then
  local left, runs, returned = unpack(redis.call('HMGET', key, 'retries_left', 'attempts', 'number_of_retries'))
  local spent = (tonumber(runs or '') or 1) - 1 - (tonumber(returned or '') or 0)
  retries = (tonumber(left or '') or 0) + math.max(0, spent)
end
for _, kind in ipairs({'failed', 'canceled'}) do
  redis.call('ZREM', P .. ':' .. kind .. ':' .. queue, id)
end
redis.call('ZREM', P .. ':fleet:ended:failed:' .. (job_type or ''), id)
redis.call('ZREM', P .. ':fleet:ended:cancelled:' .. (job_type or ''), id)
exhume(P, id)
redis.call('ZREM', P .. ':fleet:quarantine', id)
redis.call('HDEL', P .. ':fleet:quarantine:reasons', id)
redis.call('HDEL', key, 'final', 'attempts', 'deaths', 'worker_deaths', 'alone', 'progress', 'exc_info', 'error', 'cancel_requested', 'quarantined',
  'settled', 'execution', 'deadline', 'filed', 'given_back', 'error_text', 'spent', 'number_of_retries')
redis.call('HSET', key, 'status', 'queued', 'enqueued_at', now, 'started_at', '', 'ended_at', '', 'worker_name', '',
  'retries_left', retries, 'retried_by', ARGV[6])
add(key, 'retried', 1)
redis.call('PERSIST', key)
redis.call('PERSIST', P .. ':results:' .. id)
if redis.call('EXISTS', P .. ':fleet:steps:' .. id) == 1 then
  redis.call('EXPIRE', P .. ':fleet:steps:' .. id, STEPS_KEPT, 'GT')
  redis.call('HSET', key, 'checkpoint', '1')
end
if arrive(P, id, queue, gates_of(redis.call('HGET', key, 'gates')), 1, false, ms) then
  redis.call('RPUSH', P .. ':queue:' .. queue, id)
end
if redis.call('HGET', key, 'ledger') then
  tell_ledger(id, job_type, 'queued')
  send_to_ledger(P)
end
job_event(P, id, topics, 'job:queued', {type = job_type or '', attempt = 0})
return 'again'
