#!lua flags=allow-oom
-- The rows of these durable jobs say that they have ended: where the hash does not know (the data is older), it is told,
-- and the job can't be leased any more. Its hash stays for a moment, so that nobody pushes it again.
-- ARGV: prefix, now (RFC 3339), rate windows (KEY=COUNT ...); then 2 a job: id, status (finished, failed or canceled).
-- Returns the last id of the ledger's stream, then the ids of those that were told.
--include lib_events
--include lib_execution
--include lib_gates
local P, now, KEPT = ARGV[1], ARGV[2], 60
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local LIVE = {queued = true, started = true, scheduled = true, deferred = true, ready_to_enqueue = true}
local about, out = redis.pcall('XINFO', 'STREAM', P .. ':fleet:ledger'), {'0-0'}
for n = 1, about.err and 0 or #about, 2 do
  out[1] = about[n] == 'last-generated-id' and about[n + 1] or out[1]
end

local function end_job(id, status)
  local key = P .. ':job:' .. id
  local head = redis.pcall('HMGET', key, 'status', 'ledger', 'origin', 'worker_name', 'execution', 'gates', 'filed', 'unique_key')
  if head.err or not LIVE[head[1] or ''] or not head[2] then
    return
  end
  local queue = head[3] or 'default'
  if head[1] == 'started' and head[5] then
    end_abandoned(P, head[4], id, head[5])
    leave_gates(P, id, id .. ':' .. head[5], ms)
  end
  leave_line(P, id, queue, gates_of(head[6], ARGV[3]), head[7], ms)
  redis.call('ZREM', P .. ':scheduled:' .. queue, id)
  redis.call('HSET', key, 'status', status, 'ended_at', now, 'final', '1')
  redis.call('EXPIRE', key, KEPT)
  redis.call('DEL', P .. ':fleet:checkpoint:' .. id)
  if head[8] and redis.call('GET', P .. ':fleet:unique:' .. head[8]) == id then
    redis.call('DEL', P .. ':fleet:unique:' .. head[8])
  end
  out[#out + 1] = id
end

return tell_together(function()
  for at = 4, #ARGV, 2 do
    pcall(end_job, ARGV[at], ARGV[at + 1])
  end
  open_freed(P, ms)
  return out
end)
