-- What is paused, for one worker: the queues that it must take nothing from, and the lanes, whose room in `free` is none
-- then. `rq suspend` and a pause of the worker block all its queues.
local function what_is_paused(P, worker, queues, free)
  local blocked, paused_lanes, all = {}, {}, redis.call('EXISTS', P .. ':suspended') == 1
  for _, entry in ipairs(redis.call('SMEMBERS', P .. ':fleet:paused')) do
    local kind, name = entry:match('^(%a+):(.*)$')
    if kind == 'queue' then
      blocked[name] = true
    elseif kind == 'lane' and free[name] then
      free[name] = 0
      paused_lanes[#paused_lanes + 1] = name
    end
    all = all or (kind == 'worker' and name == worker)
  end
  for _, queue in ipairs(all and queues or {}) do
    blocked[queue] = true
  end
  return blocked, paused_lanes
end
