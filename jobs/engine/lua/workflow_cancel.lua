#!lua flags=allow-oom
-- Cancel a workflow in one step: what waits never begins, what is queued is cancelled, what runs is asked to stop. Safe to
-- repeat. ARGV: prefix, id, now (RFC 3339), rate windows (KEY=COUNT ...).
-- Returns {missing, asked, or the state it ended in; its round; 1 for a durable one}.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_workflow
--include lib_cancel
local P, at, MANY = ARGV[1], clock_of(ARGV[3]), 50
local flow = open_workflow(P, ARGV[2], at)

-- The nodes that wait for others, as work for `end_nodes`, and those that have a job in a queue or a worker.
local function live_nodes()
  local all, waiting, begun = redis.call('HGETALL', flow.key .. ':state'), {}, {}
  for n = 1, #all, 2 do
    local node = all[n]:match('^s:(.*)$')
    if node and all[n + 1] == 'waiting' and node:sub(1, 5) ~= 'undo:' then
      waiting[#waiting + 1] = {node, 'cancelled', reason('Cancelled', 'the workflow was cancelled')}
    elseif node and LIVE_NODE[all[n + 1]] then
      begun[#begun + 1] = node
    end
  end
  return waiting, begun
end

local function cancel_begun(nodes)
  for _, node in ipairs(nodes) do
    local id = of_node(flow, 'j', node)
    local kept = tonumber(redis.call('HGET', P .. ':job:' .. id, 'result_ttl') or '') or 0
    cancel_job(P, id, ARGV[4], math.max(SHORTEST, kept), at, #nodes > MANY)
    observe(flow, node, id)
  end
end

local function cancel()
  if not flow then
    return 'missing'
  elseif flow.status ~= 'running' and flow.status ~= 'compensating' then
    return flow.status
  end
  redis.call('HSETNX', flow.key, 'cancelled_at', at.now)
  local waiting, begun = live_nodes()
  end_nodes(flow, waiting)
  cancel_begun(begun)
  local status = redis.call('HGET', flow.key, 'status')
  return status == 'cancelled' and status or 'asked'
end

return tell_together(function()
  local word = cancel()
  local round, durable = unpack(flow and redis.call('HMGET', flow.key, 'round', 'durable') or {})
  return {word, tonumber(round or '') or 0, durable and 1 or 0}
end)
