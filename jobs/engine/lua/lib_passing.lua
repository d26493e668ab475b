-- The lease's side of the gates: who may run now, and what its run holds from then on.
--include lib_filing

local sent_away = {}

local function declared_count(key, declared)
  return declared[key:match('^limit:[^:]+:[^:]+') or key]
end

-- The gates of a job that is about to be leased: its own, with the counts that this worker's release declares, and its
-- lane's windows.
local function gates_met(text, windows, declared)
  local gates = gates_of(text, windows)
  for _, gate in ipairs(gates) do
    gate.count = declared_count(gate.key, declared) or gate.count
  end
  return gates
end

-- Whether a gate is open to a job that was met in RQ's list. Where places are counted, the order of the list decides;
-- a turn is only for who was let through.
local function is_open(P, gate, queue, goes_first, ms)
  if goes_first or gate.kind ~= 'turn' then
    return used(P, gate, ms) < gate.count
  end
  return not is_shut(P, gate, queue, ms)
end

-- File a job that was met in RQ's list: in front if it was let through before, or given back, else behind the others.
local function file_met(P, gate, queue, id, goes_first)
  redis.call('HSET', P .. ':job:' .. id, 'filed', gate.key)
  if goes_first then
    redis.call('ZREM', tickets_of(P, gate, queue), id)
  end
  line_up(gate, queue, id, goes_first and 'first' or 'back')
end

local function has_ticket(P, gate, queue, id)
  local tickets = tickets_of(P, gate, queue)
  if without_tickets[tickets] == nil then
    without_tickets[tickets] = redis.call('EXISTS', tickets) == 0
  end
  return not without_tickets[tickets] and redis.call('ZSCORE', tickets, id)
end

-- A job before whose first gate others were sent away in this call goes the same way, if it has no ticket.
local function follows_others(P, id, queue, gates)
  local gate = gates[1]
  local follows = gate and sent_away[queue .. ' ' .. gate.key] and not has_ticket(P, gate, queue, id)
  if follows then
    file_met(P, gate, queue, id, false)
  end
  return follows
end

-- Whether all gates are open to a job that was met in RQ's list; else it is filed under the first that is not.
local function may_pass(P, id, queue, gates, given_back, ms)
  local unasked = {}
  for _, gate in ipairs(gates) do
    local ticket = has_ticket(P, gate, queue, id)
    if not is_open(P, gate, queue, ticket or given_back, ms) then
      for _, passed in ipairs(unasked) do
        give_ticket(P, passed, queue, id, ms)
      end
      file_met(P, gate, queue, id, ticket or given_back)
      sent_away[queue .. ' ' .. gate.key] = true
      return false
    end
    if not ticket then
      unasked[#unasked + 1] = gate
    end
  end
  return true
end

-- A run begins: its tickets become what it holds, its begin counts, and the turn goes to the next of its kind.
local function enter_gates(P, id, member, queue, gates, ms)
  local held = {}
  for _, gate in ipairs(gates) do
    redis.call('ZREM', tickets_of(P, gate, queue), id)
    if gate.kind == 'limit' then
      redis.call('ZADD', P .. ':fleet:held:' .. gate.key, 0, member)
      held[#held + 1] = gate.key .. '=' .. gate.count
    elseif gate.kind == 'window' then
      redis.call('LPUSH', P .. ':fleet:' .. gate.key, ms)
      redis.call('PEXPIRE', P .. ':fleet:' .. gate.key, gate.key:match(':(%d+)$') + 1000)
    else
      admit(P, gate, queue, ms)
      shut[queue .. ' ' .. gate.key] = true
    end
  end
  if #held > 0 then
    redis.call('HSET', P .. ':fleet:holds', member, table.concat(held, ' '))
  end
end

-- The windows of all lanes.
local function windows_of(texts)
  local all = {}
  for _, text in pairs(texts) do
    all[#all + 1] = text
  end
  return gates_of(table.concat(all, ' '))
end

local function lines_before(P, windows)
  local lines = {}
  for n, gate in ipairs(windows) do
    lines[n] = P .. ':fleet:waiting-queues:' .. gate.key
  end
  return lines
end

-- Let those through whose windows have opened.
local function admit_due(P, windows, ms)
  if #windows > 0 and redis.call('EXISTS', unpack(lines_before(P, windows))) > 0 then
    for _, gate in ipairs(windows) do
      open(P, gate, ms)
    end
  end
end

-- When (ms) the next window opens before which somebody waits, or 0.
local function next_due(P, windows, ms)
  local due, lines = 0, lines_before(P, windows)
  if #lines == 0 or redis.call('EXISTS', unpack(lines)) == 0 then
    return 0
  end
  for n, gate in ipairs(windows) do
    if redis.call('EXISTS', lines[n]) == 1 and used(P, gate, ms) >= gate.count then
      local opens = redis.call('LINDEX', P .. ':fleet:' .. gate.key, gate.count - 1) + gate.key:match(':(%d+)$') + 1
      due = due == 0 and opens or math.min(due, opens)
    end
  end
  return due
end
