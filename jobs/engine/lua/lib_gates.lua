-- Gates: what a job passes one after another before it runs, each `KEY=COUNT`. A limit (limit:TYPE[:FIELDS:VALUES]) lets
-- COUNT run at once, a rate window (window:LANE:MS) lets COUNT begin in so many ms, a turn (turn:TYPE:FIELD:VALUE) lets one
-- be in RQ's list. Who passes gets a ticket, a queue's own so that no queue waits for another, and keeps it until it is
-- leased; who does not is filed under the gate and named there by its hash (`filed`). Only the lease decides who runs.
local TICKET_KEPT, TRIES, LONGEST_SEARCH = 86400, 200, 20000

local known_gates = {}

-- The gates of one or two texts; what is none is left out.
local function gates_of(text, more)
  local all = (text or '') .. ' ' .. (more or '')
  if not known_gates[all] then
    local gates = {}
    for key, count in all:gmatch('(%S+)=(%d+)') do
      local kind = key:match('^(%l+):')
      if kind == 'limit' or kind == 'turn' or (kind == 'window' and key:match(':(%d+)$')) then
        gates[#gates + 1] = {key = key, kind = kind, count = tonumber(count)}
      end
    end
    known_gates[all] = gates
  end
  return known_gates[all]
end

local function tickets_of(P, gate, queue)
  return P .. ':fleet:admitted:' .. queue .. ':' .. gate.key
end

local function line_of(P, gate, queue)
  return P .. ':fleet:waiting:' .. queue .. ':' .. gate.key
end

-- How many run, or have begun within the window. One that began just a whole window ago counts, so that no window of that
-- length, wherever it begins, sees more.
local function used(P, gate, ms)
  if gate.kind == 'limit' then
    return redis.call('ZCARD', P .. ':fleet:held:' .. gate.key)
  elseif gate.kind == 'turn' then
    return 0
  end
  local times, since = P .. ':fleet:' .. gate.key, ms - tonumber(gate.key:match(':(%d+)$'))
  local oldest = redis.call('LINDEX', times, -1)
  while oldest and tonumber(oldest) < since do
    redis.call('RPOP', times)
    oldest = redis.call('LINDEX', times, -1)
  end
  return redis.call('LLEN', times)
end

local function room_at(P, gate, queue, ms)
  return gate.count - used(P, gate, ms) - redis.call('ZCARD', tickets_of(P, gate, queue))
end

local without_tickets = {}

local function give_ticket(P, gate, queue, id, ms)
  local tickets = tickets_of(P, gate, queue)
  without_tickets[tickets] = nil
  redis.call('ZADD', tickets, ms, id)
  redis.call('EXPIRE', tickets, TICKET_KEPT)
end

-- Somebody stands in line. The first one before a window is told to the workers, so that they know when it opens.
local function note_line(P, gate, queue, ms)
  if redis.call('SADD', P .. ':fleet:waiting-queues:' .. gate.key, queue) == 1 then
    redis.call('ZADD', P .. ':fleet:gates', ms, gate.key)
    if gate.kind == 'window' then
      redis.call('PUBLISH', P .. ':fleet:filed', 1)
    end
  end
end

local function file_at(P, gate, queue, id, front, ms)
  redis.call('HSET', P .. ':job:' .. id, 'filed', gate.key)
  if redis.call(front and 'LPUSH' or 'RPUSH', line_of(P, gate, queue), id) == 1 then
    note_line(P, gate, queue, ms)
  end
end

local admit

-- A job comes to its gates, from the number `from` on. True when it passed them all and may go to RQ's list.
local function arrive(P, id, queue, gates, from, front, ms)
  for n = from, #gates do
    local gate = gates[n]
    local waiting, room = redis.call('LLEN', line_of(P, gate, queue)), room_at(P, gate, queue, ms)
    if waiting > 0 or room < 1 then
      file_at(P, gate, queue, id, front, ms)
      if room > 0 then
        admit(P, gate, queue, ms)
      end
      return false
    end
    give_ticket(P, gate, queue, id, ms)
  end
  return true
end

local function push(P, queue, ids, front)
  local list = P .. ':queue:' .. queue
  for n = 1, #ids do
    redis.call(front and 'LPUSH' or 'RPUSH', list, ids[front and #ids + 1 - n or n])
  end
end

local function forget_line(P, gate, queue)
  redis.call('SREM', P .. ':fleet:waiting-queues:' .. gate.key, queue)
  if redis.call('EXISTS', P .. ':fleet:waiting-queues:' .. gate.key) == 0 then
    redis.call('ZREM', P .. ':fleet:gates', gate.key)
  end
end

-- What of a job that waits under a gate is to come after it; nil when it does not wait there any more. One that can't be
-- read goes to RQ's list, where the lease sets it aside.
local function gates_after(P, gate, queue, id)
  local key = P .. ':job:' .. id
  local head = redis.pcall('HMGET', key, 'status', 'filed', 'gates')
  if head.err or (not head[1] and redis.call('EXISTS', key) == 1) then
    redis.call('RPUSH', P .. ':queue:' .. queue, id)
    return nil
  elseif head[1] ~= 'queued' or head[2] ~= gate.key then
    return nil
  end
  local gates, after = gates_of(head[3]), 1
  for n, each in ipairs(gates) do
    after = each.key == gate.key and n + 1 or after
  end
  return gates, gate.kind == 'window' and #gates + 1 or after
end

-- Let as many of a queue go on as there is room for: to the front of RQ's list, after a turn to its back. Cancelled and
-- deleted ids are dropped on the way. Looks at TRIES ids at most; the sweep goes on.
admit = function(P, gate, queue, ms)
  local room, passed = room_at(P, gate, queue, ms), {}
  for _ = 1, room > 0 and TRIES or 0 do
    local id = room > 0 and redis.call('LPOP', line_of(P, gate, queue))
    if not id then
      break
    end
    local gates, after = gates_after(P, gate, queue, id)
    if gates then
      redis.call('HDEL', P .. ':job:' .. id, 'filed')
      give_ticket(P, gate, queue, id, ms)
      room = room - 1
      if arrive(P, id, queue, gates, after, false, ms) then
        passed[#passed + 1] = id
      end
    end
  end
  if redis.call('EXISTS', line_of(P, gate, queue)) == 0 then
    forget_line(P, gate, queue)
  end
  push(P, queue, passed, gate.kind ~= 'turn')
  return #passed
end

local function open(P, gate, ms)
  for _, queue in ipairs(redis.call('SMEMBERS', P .. ':fleet:waiting-queues:' .. gate.key)) do
    admit(P, gate, queue, ms)
  end
end

-- A job that waits or is queued leaves for good: out of its line, and its tickets go to the next ones.
local function leave_line(P, id, queue, gates, filed, ms)
  if filed then
    local line = P .. ':fleet:waiting:' .. queue .. ':' .. filed
    if redis.call('LLEN', line) <= LONGEST_SEARCH then
      redis.call('LREM', line, 1, id)
    end
    redis.call('HDEL', P .. ':job:' .. id, 'filed')
  end
  for _, gate in ipairs(gates) do
    if redis.call('ZREM', tickets_of(P, gate, queue), id) == 1 then
      admit(P, gate, queue, ms)
    end
  end
end

local freed = {}

-- A run has ended, and holds no place any more. If its job was given back, it keeps the place; if not, `open_freed` gives
-- it to the next one.
local function leave_gates(P, id, member, ms)
  local held = redis.call('HGET', P .. ':fleet:holds', member)
  if not held then
    return
  end
  redis.call('HDEL', P .. ':fleet:holds', member)
  local head = redis.pcall('HMGET', P .. ':job:' .. id, 'status', 'given_back', 'origin')
  for _, gate in ipairs(gates_of(held)) do
    redis.call('ZREM', P .. ':fleet:held:' .. gate.key, member)
    if not head.err and head[1] == 'queued' and head[2] then
      give_ticket(P, gate, head[3] or '', id, ms)
    end
    freed[gate.key] = gate
  end
end

local function open_freed(P, ms)
  for _, gate in pairs(freed) do
    open(P, gate, ms)
  end
end
