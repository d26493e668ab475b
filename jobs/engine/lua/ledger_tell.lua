#!lua flags=allow-oom
-- Tell the ledger once more how jobs ended: its rows do not know, because what was told is lost or RQ's own tools ended them.
-- ARGV: prefix, ids.
--include lib_ledger
local P = ARGV[1]
local STATE = {finished = 'finished', failed = 'failed', canceled = 'cancelled', stopped = 'cancelled'}
for at = 2, #ARGV do
  local key = P .. ':job:' .. ARGV[at]
  local status, job_type, attempts, worker, started, ended, reason, quarantined = unpack(redis.call('HMGET', key, 'status',
    'type', 'attempts', 'worker_name', 'started_at', 'ended_at', 'error', 'quarantined'))
  local state = quarantined and 'quarantined' or STATE[status or '']
  if state then
    ended = ended and ended ~= '' and ended or redis.call('TIME')[1]
    reason = quarantined and cjson.encode({type = 'Quarantined', message = quarantined}) or reason
    tell_ledger(ARGV[at], job_type, state, attempts, worker, started, ended, reason)
  end
end
send_to_ledger(P)
