#!lua flags=allow-oom
-- How much waits, runs and is delayed in each queue, noted once a step by whoever comes first; the larger value stays. For
-- the shortest steps also how that divides among lanes and types.
-- ARGV: prefix, steps (JSON list of {step in s, kept for s}), queues (JSON list).
-- Returns 1 when it was noted, 0 when somebody had done so in this step.
local P, steps, queues = ARGV[1], cjson.decode(ARGV[2]), cjson.decode(ARGV[3])
--include lib_composition
local seconds, MOST_GATES = tonumber(redis.call('TIME')[1]), 1000
local mark, this = P .. ':fleet:statistics:sampled', math.floor(seconds / steps[1][1])
if tonumber(redis.call('GET', mark) or '') == this then
  return 0
end
redis.call('SET', mark, this, 'EX', 3600)
math.randomseed(this)

-- Days from 1970-01-01 to a date of the Gregorian calendar (the usual arithmetic over years that begin in March).
local function days_to(year, month, day)
  year = month <= 2 and year - 1 or year
  local era, moved = math.floor(year / 400), month > 2 and month - 3 or month + 9
  local of_era = year - era * 400
  local of_year = math.floor((153 * moved + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

-- Seconds since a job was put on its queue, or 0.
local function waited(id)
  local text = id and redis.pcall('HGET', P .. ':job:' .. id, 'enqueued_at')
  local year, month, day, hour, minute, second = (type(text) == 'string' and text or ''):match(
    '^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)')
  if not year then
    return 0
  end
  local at = days_to(tonumber(year), tonumber(month), tonumber(day)) * 86400 + hour * 3600 + minute * 60 + second
  return math.max(0, seconds - at)
end

-- The lists in which a queue's jobs wait: its own, those of full lanes, those before gates.
local function lists_of(queue, gates)
  local lists = {P .. ':queue:' .. queue}
  for _, lane in ipairs(redis.call('SMEMBERS', P .. ':fleet:overflowed:' .. queue)) do
    lists[#lists + 1] = P .. ':fleet:overflow:' .. queue .. ':' .. lane
  end
  for _, gate in ipairs(gates) do
    lists[#lists + 1] = P .. ':fleet:waiting:' .. queue .. ':' .. gate
  end
  return lists
end

local function note(field, value, of_steps)
  for _, step in ipairs(of_steps or steps) do
    local length, kept = unpack(step)
    local key = P .. ':fleet:statistics:' .. length .. ':' .. math.floor(seconds / length) * length
    if value > (tonumber(redis.call('HGET', key, field) or '') or -1) then
      redis.call('HSET', key, field, string.format('%d', value))
      redis.call('EXPIRE', key, kept + length)
    end
  end
end

local gates = redis.call('ZRANGE', P .. ':fleet:gates', 0, MOST_GATES - 1)
local counts = {}
for _, queue in ipairs(queues) do
  local depth, oldest, lists = 0, 0, {}
  for at, list in ipairs(lists_of(queue, gates)) do
    local length = redis.call('LLEN', list)
    depth = depth + length
    lists[#lists + 1] = (at == 1 or length > 0) and list or nil
    oldest = length > 0 and math.max(oldest, waited(redis.call('LINDEX', list, 0))) or oldest
  end
  look_at_queue(counts, queue, lists)
  note('queue:' .. queue .. ' waiting', depth)
  note('queue:' .. queue .. ' oldest', oldest)
  note('queue:' .. queue .. ' active', redis.call('ZCARD', P .. ':wip:' .. queue))
  note('queue:' .. queue .. ' delayed', redis.call('ZCARD', P .. ':scheduled:' .. queue))
end
for _, field in ipairs(largest(counts)) do
  note(field, math.floor(counts[field] + 0.5), {steps[1]})
end
return 1
