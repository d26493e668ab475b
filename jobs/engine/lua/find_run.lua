#!lua flags=allow-oom
-- Put a queued job back on its queue that stands in none of the places from which workers take jobs, because somebody
-- deleted its list: otherwise it is queued for ever, and its schedule waits for it. Safe to repeat.
-- ARGV: prefix, id, the time (RFC 3339) since which it must have been queued, now (RFC 3339).
-- Returns 1 if it was put back.
--include lib_gates
local P, id, since, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local key = P .. ':job:' .. id
local head = redis.pcall('HMGET', key, 'status', 'origin', 'filed', 'gates', 'lane', 'enqueued_at', 'quarantined')
if head.err or head[1] ~= 'queued' or head[7] or (head[6] or '') >= since then
  return 0
end
local queue, filed, list = head[2] or 'default', head[3] or '', P .. ':queue:' .. (head[2] or 'default')

local function stands_in(key)
  return redis.call('TYPE', key).ok == 'list' and redis.call('LPOS', key, id)
end

local function is_somewhere()
  local places = {list, list .. ':intermediate', P .. ':fleet:waiting:' .. queue .. ':' .. filed}
  for _, lane in ipairs({'!alone', head[5] or 'default', 'default'}) do
    places[#places + 1] = P .. ':fleet:overflow:' .. queue .. ':' .. lane
  end
  for _, worker in ipairs(redis.call('ZRANGE', P .. ':fleet:workers', 0, -1)) do
    places[#places + 1] = P .. ':fleet:inbox:' .. worker .. ':' .. queue
  end
  for _, place in ipairs(places) do
    if stands_in(place) then
      return true
    end
  end
end

if is_somewhere() then
  return 0
end
for _, gate in ipairs(gates_of(head[4])) do
  redis.call('ZREM', tickets_of(P, gate, queue), id)
end
redis.call('HDEL', key, 'filed')
redis.call('HSET', key, 'enqueued_at', now)
if arrive(P, id, queue, gates_of(head[4]), 1, false, ms) then
  redis.call('SADD', P .. ':queues', list)
  redis.call('RPUSH', list, id)
end
return 1
