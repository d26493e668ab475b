#!lua flags=allow-oom
-- Runs that were leased in a batch take longer than they were thought to: each gets its own lease and is seen by RQ.
-- ARGV: prefix, now (RFC 3339), lease (ms), RQ horizon (s), then for each run: id, execution, queue. Safe to repeat.
-- Returns how many got a lease; what is over by then, or has one, gets none.
--include lib_events
--include lib_leases
--include lib_starts
local P, now, lease_ms, horizon = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local seconds, ms = tonumber(time[1]), tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function record(id, execution, queue)
  local letter = letter_of(P, id, execution)
  local head = letter and redis.call('HMGET', P .. ':job:' .. id, 'status', 'execution')
  if not head or head[1] ~= 'started' or head[2] ~= execution then
    return 0
  end
  redis.call('HSET', P .. ':job:' .. id, 'last_heartbeat', now)
  lease_apart(P, id, execution, queue, letter, ms + lease_ms, seconds + horizon)
  return 1
end

return tell_together(function()
  local recorded = 0
  for at = 5, #ARGV, 3 do
    local ok, count = pcall(record, ARGV[at], ARGV[at + 1], ARGV[at + 2])
    recorded = recorded + (ok and count or 0)
  end
  return recorded
end)
