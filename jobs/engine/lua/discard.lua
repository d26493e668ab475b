#!lua flags=allow-oom
-- Throw a dead letter away, or what is in quarantine: the job leaves with all it has. Safe to repeat.
-- ARGV: prefix, id, execution whose outcome it died of, or '' for whatever it is now; then perhaps 1 to throw away what completed or
--       was cancelled as well, and 1 when the ledger is known to know of its end.
-- Returns gone, missing, changed (it has died anew since), dependents (jobs wait for it), unrecorded (the ledger does not
-- know of its end yet), or the state that forbids it.
--include lib_events
--include lib_dead_letters
--include lib_late_pushes
--include lib_leases
local P, id, execution, recorded = ARGV[1], ARGV[2], ARGV[3], ARGV[5] == '1'
local ENDED = ARGV[4] == '1' and {finished = 'finished', canceled = 'canceled', stopped = 'failed'} or {}
local key = P .. ':job:' .. id
local head = redis.pcall('HMGET', key, 'status', 'quarantined', 'settled', 'topics', 'type', 'origin', 'attempts', 'execution',
  'ledger')
local aside = redis.call('ZSCORE', P .. ':fleet:quarantine', id)
if head.err then
  head = {}
end
aside = aside and is_set_aside(head[1], head[2])
if redis.call('EXISTS', key) == 0 then
  exhume(P, id)
  if not aside then
    return 'missing'
  end
end
local ended = not head[2] and ENDED[head[1] or '']
if not aside and not ended and not is_letter(head[1], head[2]) then
  return head[1] or 'unreadable'
end
if execution ~= '' and (head[3] or '') ~= execution then
  return 'changed'
end
if is_leased(P, id, head[8] or '') then
  return 'started'
end
if redis.call('EXISTS', key .. ':dependents') == 1 then
  return 'dependents'
end
if not recorded and not is_recorded(P, id, head[5] or '', head[9]) then
  return 'unrecorded'
end
if head[9] then
  keep_late_pushes_out(P, id)
end
exhume(P, id)
redis.call('ZREM', P .. ':fleet:quarantine', id)
redis.call('HDEL', P .. ':fleet:quarantine:reasons', id)
redis.call('ZREM', P .. ':' .. (ended or 'failed') .. ':' .. (head[6] or ''), id)
redis.call('ZREM', P .. ':fleet:ended:failed:' .. (head[5] or ''), id)
redis.call('ZREM', P .. ':fleet:ended:cancelled:' .. (head[5] or ''), id)
redis.call('UNLINK', key, P .. ':results:' .. id, P .. ':fleet:log:' .. id, P .. ':fleet:checkpoint:' .. id, P .. ':fleet:steps:' .. id,
  P .. ':job::' .. id .. ':dependencies')
if head[4] and head[4] ~= '' then
  local about = {job_id = id, type = head[5] or '', attempt = tonumber(head[7] or '') or 0}
  pcall(emit, P, head[4], 'job:discarded', cjson.encode(about))
end
return 'gone'
