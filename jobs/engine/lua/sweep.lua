#!lua flags=allow-oom
-- Put right what happened to gates behind our back, so that nobody waits before one for ever: tickets of jobs that RQ's
-- tools deleted, cancelled or moved, what is held without a lease, gates that a newer release opened or has no more.
-- Looks at AT_ONCE gates, those first that were looked at longest ago. Safe to repeat.
-- ARGV: prefix, counts (JSON object, name of a limit to how many), windows of all lanes (KEY=COUNT ...).
-- Returns how many tickets and holds were dropped.
--include lib_passing
local P, declared, windows = ARGV[1], cjson.decode(ARGV[2]), {}
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local AT_ONCE, LONG_AGO_MS, LONGEST_LIST, searches, dropped = 100, 60000, 10000, 10, 0
local STILL_RUNNING_MS, ANY = 15000, 1000000
for _, gate in ipairs(gates_of(ARGV[3])) do
  windows[gate.key] = gate.count
end

-- A run without a lease may go on for a moment, until its worker hears of it.
local function drop_holds()
  for _, member in ipairs(redis.call('HRANDFIELD', P .. ':fleet:holds', AT_ONCE)) do
    if not redis.call('ZSCORE', P .. ':fleet:leases', member) then
      local gates = gates_of(redis.call('HGET', P .. ':fleet:holds', member))
      local since = #gates > 0 and tonumber(redis.call('ZSCORE', P .. ':fleet:held:' .. gates[1].key, member)) or 1
      if since > 0 and since < ms - STILL_RUNNING_MS then
        dropped = dropped + 1
        leave_gates(P, member:match('^(.*):'), member, ms)
      elseif since == 0 then
        redis.call('ZADD', P .. ':fleet:held:' .. gates[1].key, ms, member)
      end
    end
  end
end

-- Whether the job still is on its way from the gate to its lease. RQ's list is searched for what is long on its way.
local function is_on_its_way(id, queue, gate, since)
  local head = redis.pcall('HMGET', P .. ':job:' .. id, 'status', 'origin', 'filed', 'lane')
  if head.err or head[1] ~= 'queued' or (head[2] or queue) ~= queue or head[3] == gate.key then
    return false
  end
  local list = P .. ':queue:' .. queue
  if head[3] or since > ms - LONG_AGO_MS or searches == 0 or redis.call('LLEN', list) > LONGEST_LIST then
    return true
  end
  searches = searches - 1
  redis.call('ZADD', tickets_of(P, gate, queue), 'XX', ms, id)
  local overflow = P .. ':fleet:overflow:' .. queue .. ':' .. (head[4] or 'default')
  return redis.call('LPOS', list, id) ~= false or redis.call('LPOS', overflow, id, 'MAXLEN', LONGEST_LIST) ~= false
end

local function drop_tickets(gate, queue)
  local tickets = redis.call('ZRANGE', tickets_of(P, gate, queue), 0, AT_ONCE - 1, 'WITHSCORES')
  for n = 1, #tickets, 2 do
    if not is_on_its_way(tickets[n], queue, gate, tonumber(tickets[n + 1])) then
      dropped = dropped + redis.call('ZREM', tickets_of(P, gate, queue), tickets[n])
    end
  end
end

-- How many a gate lets through: as this release says, or else the first job that waits there.
local function count_of(key, queue)
  if key:find('^window:') then
    return windows[key] or ANY
  end
  local line, count = P .. ':fleet:waiting:' .. queue .. ':' .. key, declared_count(key, declared)
  for _ = 1, count and 0 or TRIES do
    local first = redis.call('LINDEX', line, 0)
    local gates = first and gates_after(P, {key = key}, queue, first)
    if gates then
      for _, gate in ipairs(gates) do
        count = gate.key == key and gate.count or count
      end
      break
    end
    redis.call('LPOP', line)
  end
  return count or 1
end

drop_holds()
open_freed(P, ms)
for _, key in ipairs(redis.call('ZRANGE', P .. ':fleet:gates', 0, AT_ONCE - 1)) do
  redis.call('ZADD', P .. ':fleet:gates', ms, key)
  for _, queue in ipairs(redis.call('SMEMBERS', P .. ':fleet:waiting-queues:' .. key)) do
    local gate = gates_of(key .. '=' .. count_of(key, queue))[1]
    drop_tickets(gate, queue)
    admit(P, gate, queue, ms)
  end
  if redis.call('EXISTS', P .. ':fleet:waiting-queues:' .. key) == 0 then
    redis.call('ZREM', P .. ':fleet:gates', key)
  end
end
return dropped
