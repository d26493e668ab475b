-- Run some nodes of an ended workflow again, as new jobs; the others stay as they are, with their results.
-- ARGV: prefix, id, now (RFC 3339), the round that the caller saw, then as lib_workflow_begin says.
-- Returns again, missing, or changed: it runs, or was replayed meanwhile.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_workflow_begin
local P, id, at = ARGV[1], ARGV[2], clock_of(ARGV[3])
local flow, nodes = open_workflow(P, id, at), read_nodes(5)

local function forget(node)
  redis.call('HDEL', flow.key .. ':results', node.name)
  for _, kind in ipairs({'s', 'p', 'o', 'e', 'u'}) do
    redis.call('HDEL', flow.key .. ':state', kind .. ':' .. node.name)
  end
end

-- What broke off before has been dealt with.
local function forget_breaks()
  for _, field in ipairs(redis.call('HKEYS', flow.key .. ':state')) do
    if field:sub(1, 2) == 'u:' then
      redis.call('HDEL', flow.key .. ':state', field)
    end
  end
end

return tell_together(function()
  if not flow then
    return 'missing'
  end
  local live = flow.status == 'running' or flow.status == 'compensating'
  if live or redis.call('HGET', flow.key, 'round') ~= ARGV[4] then
    return 'changed'
  end
  for _, node in ipairs(nodes) do
    forget(node)
  end
  forget_breaks()
  local done = count_ended(flow)
  flow.status = 'running'
  redis.call('HDEL', flow.key, 'cancelled_at', 'undo', 'undoing', 'ended_at')
  redis.call('HSET', flow.key, 'status', 'running')
  redis.call('HINCRBY', flow.key, 'round', 1)
  tell_workflow(flow, 'workflow:started', {total = tonumber(redis.call('HGET', flow.key, 'total')), done = done})
  begin_nodes(flow, write_nodes(flow, nodes))
  return 'again'
end)
