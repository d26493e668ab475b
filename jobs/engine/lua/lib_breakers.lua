-- Breakers (lua/breaker.lua) as a lease sees them: `fleet:breakers` names those that are not closed, LANE/PROVIDER by the
-- time (ms) until which nothing of the lane begins. From then on one slot's jobs of the lane are a probe, and nothing
-- more for PROBE_MS or until the probe has told how its provider is.
local PROBE_MS, on_trial = 30000, {}

-- Take the room of lanes with an open breaker, and add their names to `shut`; leave one slot to those that may be tried.
-- Returns when (ms) the next one of this worker's lanes may be tried, or 0.
local function heed_breakers(P, free, shut, slot, ms)
  local known, next_trial = redis.call('ZRANGE', P .. ':fleet:breakers', 0, -1, 'WITHSCORES'), 0
  for n = 1, #known, 2 do
    local lane, till = known[n]:match('^(.*)/'), tonumber(known[n + 1])
    if free[lane] and till > ms then
      free[lane], on_trial[lane] = 0, nil
      shut[#shut + 1] = lane
      next_trial = next_trial == 0 and till or math.min(next_trial, till)
    elseif (free[lane] or 0) > 0 then
      free[lane] = math.min(free[lane], slot)
      on_trial[lane] = on_trial[lane] or {room = free[lane]}
      table.insert(on_trial[lane], known[n])
    end
  end
  return next_trial
end

-- The earlier of two times, 0 being none.
local function next_look(one, other)
  return (one == 0 or other == 0) and one + other or math.min(one, other)
end

-- A lane on trial of which something was handed out is shut again until its probe has told, or took too long for that.
local function begin_probes(P, free, ms)
  for lane, breakers in pairs(on_trial) do
    for _, name in ipairs(free[lane] < breakers.room and breakers or {}) do
      redis.call('ZADD', P .. ':fleet:breakers', 'XX', ms + PROBE_MS, name)
      redis.call('HSET', P .. ':fleet:breaker:' .. name, 'state', 'half_open')
    end
  end
end
