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

-- How many of the other nodes have ended, and how many of these badly.
local function count_others()
  local all, done, bad = redis.call('HGETALL', flow.key .. ':state'), 0, 0
  for n = 1, #all, 2 do
    local node = all[n]:match('^s:(.*)$')
    if node and node:sub(1, 5) ~= 'undo:' then
      done = done + 1
      bad = bad + ((all[n + 1] ~= 'completed' and counts_as_bad(plan_of(flow, node))) and 1 or 0)
    end
    -- What broke off before has been dealt with.
    if all[n]:sub(1, 2) == 'u:' then
      redis.call('HDEL', flow.key .. ':state', all[n])
    end
  end
  return done, bad
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
  local done, bad = count_others()
  flow.status = 'running'
  redis.call('HDEL', flow.key, 'cancelled_at', 'undo', 'undoing', 'ended_at')
  redis.call('HSET', flow.key, 'status', 'running', 'done', done, 'bad', bad)
  redis.call('HINCRBY', flow.key, 'round', 1)
  tell_workflow(flow, 'workflow:started', {total = tonumber(redis.call('HGET', flow.key, 'total')), done = done})
  begin_nodes(flow, write_nodes(flow, nodes))
  return 'again'
end)
