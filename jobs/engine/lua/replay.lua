#!lua flags=no-writes
-- What a topic's list holds after a position. What is no entry of ours counts as if it stood where the one before it does.
-- ARGV: key, milliseconds and number of the position, how many entries at most (0: only the newest id is asked for).
-- Returns {newest id or '', 1 when some that followed the position are not kept, entries ("id name data") ...}. When the
-- position is beyond the newest id, or some are lost, entries are those from the oldest one on.
local key, ms, number, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local function position_at(index)
  for at = index, 0, -1 do
    local at_ms, at_number = redis.call('LINDEX', key, at):match('^(%d+)%-(%d+)')
    if at_ms then
      return tonumber(at_ms), tonumber(at_number)
    end
  end
  return 0, 0
end

local function is_after(index)
  local at_ms, at_number = position_at(index)
  return at_ms > ms or (at_ms == ms and at_number > number)
end

-- The head of a list that was trimmed is the bare id of the last entry that went. In one that was not, somebody who knows
-- an id from before its first one saw an earlier list, which ran out.
local function is_lost()
  local trimmed = redis.call('LINDEX', key, 0):match('^%d+%-%d+$')
  return is_after(0) and (trimmed or ms > 0 or number > 0)
end

-- The first index after the position, found from both ends of the list.
local function first_after(length)
  local low, high = 0, length
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_after(middle) then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

local length = redis.pcall('LLEN', key)
if type(length) ~= 'number' or length == 0 then
  return {'', (ms > 0 or number > 0) and 1 or 0}
end
local newest_ms, newest_number = position_at(length - 1)
local reply = {string.format('%.0f-%.0f', newest_ms, newest_number), 0}
if most == 0 or (newest_ms == ms and newest_number == number) then
  return reply
end
if not is_after(length - 1) or is_lost() then
  reply[2], ms, number = 1, 0, 0
end
local full = most + #reply
for from = first_after(length), length - 1, most do
  for _, entry in ipairs(redis.call('LRANGE', key, from, from + most - 1)) do
    if #reply < full and entry:find('^%d+%-%d+ ') then
      reply[#reply + 1] = entry
    end
  end
end
return reply
