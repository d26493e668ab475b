#!lua flags=allow-oom
-- Take follow-ups that are due, for so many seconds: whoever takes them does them and removes them, or dies and they are
-- due again. What follows in a workflow is done here and now.
-- ARGV: prefix, how many at most, seconds, now (RFC 3339), then those that the caller has in hand and needs for longer.
-- Returns how many were due, then the members that were taken.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_workflow
local P, key, seconds = ARGV[1], ARGV[1] .. ':fleet:follow-ups', tonumber(ARGV[3])
local at = clock_of(ARGV[4])

local function is_done(id)
  return observe_job(P, id, at) and redis.call('EXISTS', P .. ':job:' .. id .. ':dependents') == 0
end

return tell_together(function()
  for n = 5, #ARGV do
    redis.call('ZADD', key, 'XX', at.seconds + seconds, ARGV[n])
  end
  local due, taken = redis.call('ZRANGEBYSCORE', key, '-inf', at.seconds, 'LIMIT', 0, ARGV[2]), {}
  taken[1] = #due
  for _, member in ipairs(due) do
    if is_done(member:match('^(.*):[^:]*$') or member) then
      redis.call('ZREM', key, member)
    else
      redis.call('ZADD', key, at.seconds + seconds, member)
      taken[#taken + 1] = member
    end
  end
  return taken
end)
