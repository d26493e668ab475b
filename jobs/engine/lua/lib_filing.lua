-- Filing many jobs in one call: whether a gate is shut is asked once, the ids of a line go to it together, and then as many
-- as may are let through.
--include lib_gates
local shut, lines = {}, {}

-- Whether a gate is shut to jobs that come to it for the first time.
local function is_shut(P, gate, queue, ms)
  local name = queue .. ' ' .. gate.key
  if shut[name] == nil then
    shut[name] = redis.call('EXISTS', line_of(P, gate, queue)) == 1 or room_at(P, gate, queue, ms) < 1
  end
  return shut[name]
end

-- The first gate that does not let a new job through; it has tickets for those before.
local function first_shut(P, id, queue, gates, ms)
  for _, gate in ipairs(gates) do
    if is_shut(P, gate, queue, ms) then
      return gate
    end
    give_ticket(P, gate, queue, id, ms)
    shut[queue .. ' ' .. gate.key] = nil
  end
end

-- A job stands in line: 'back', 'front', or 'first' before all others of this call that go there, too. The caller has its
-- hash say so.
local function line_up(gate, queue, id, where)
  local name = queue .. ' ' .. gate.key
  local line = lines[name] or {gate = gate, queue = queue, back = {}, front = {}}
  lines[name] = line
  if where == 'first' then
    table.insert(line.front, 1, id)
  else
    table.insert(line[where], id)
  end
end

local function send_lines(P, ms)
  for _, line in pairs(lines) do
    local list = line_of(P, line.gate, line.queue)
    if #line.front > 0 then
      redis.call('LPUSH', list, unpack(line.front))
    end
    if #line.back > 0 then
      redis.call('RPUSH', list, unpack(line.back))
    end
    note_line(P, line.gate, line.queue, ms)
    admit(P, line.gate, line.queue, ms)
  end
  lines = {}
end
