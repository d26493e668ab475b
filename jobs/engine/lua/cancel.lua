#!lua flags=allow-oom
-- Cancel one job: at once while it waits, by asking its worker while it runs. What follows from that in its workflow is done.
-- ARGV: prefix, id, now (RFC 3339), seconds to keep, rate windows (KEY=COUNT ...), and perhaps the status that it must have.
-- Returns cancelled, asked, missing, changed (it has another status), or the state that forbids it.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_workflow
--include lib_cancel
local P, id, at = ARGV[1], ARGV[2], clock_of(ARGV[3])
if ARGV[6] and redis.call('HGET', P .. ':job:' .. id, 'status') ~= ARGV[6] then
  return 'changed'
end
local word = cancel_job(P, id, ARGV[5], tonumber(ARGV[4]), at)
if word == 'cancelled' then
  observe_job(P, id, at)
end
return word
