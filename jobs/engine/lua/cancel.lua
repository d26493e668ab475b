#!lua flags=allow-oom
-- Cancel one job: at once while it waits, by asking its worker while it runs. What follows from that in its workflow is done.
-- ARGV: prefix, id, now (RFC 3339), seconds to keep, rate windows (KEY=COUNT ...).
-- Returns cancelled, asked, missing, or the state that forbids it.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_workflow
--include lib_cancel
local P, id, at = ARGV[1], ARGV[2], clock_of(ARGV[3])
local word = cancel_job(P, id, ARGV[5], tonumber(ARGV[4]), at)
if word == 'cancelled' then
  observe_job(P, id, at)
end
return word
