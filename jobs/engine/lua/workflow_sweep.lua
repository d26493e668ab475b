#!lua flags=allow-oom
-- Put workflows right that nobody moved on: whose jobs RQ's tools cancelled, deleted or ran, whose jobs expired, whose
-- follow-up was lost; and deferred jobs whose workflow is gone. Looks at those first that were looked at longest ago, and
-- at about AT_ONCE nodes a call. Safe to repeat. ARGV: prefix, now (RFC 3339). Returns how many workflows it looked at.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_workflow
local P, at, AT_ONCE, DEFERRED_AT_ONCE = ARGV[1], clock_of(ARGV[2]), 5000, 100
local looked, budget, workflows = 0, AT_ONCE, P .. ':fleet:workflows'

local function look_at(flow)
  local all = redis.call('HGETALL', flow.key .. ':state')
  for n = 1, #all, 2 do
    local node = all[n]:match('^s:(.*)$')
    if node and LIVE_NODE[all[n + 1]] then
      observe(flow, node, of_node(flow, 'j', node))
    end
  end
  if flow.status == 'running' or flow.status == 'compensating' then
    for _, part in ipairs(WORKFLOW_PARTS) do
      redis.call('EXPIRE', flow.key .. part, LIVE_KEPT)
    end
  end
  budget = budget - #all / 4
end

local function sweep_workflows()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', workflows, '-inf', at.seconds, 'LIMIT', 0, AT_ONCE)) do
    if budget < 0 then
      return
    end
    redis.call('ZADD', workflows, at.seconds + LOOK_AGAIN, id)
    local ok, flow = pcall(open_workflow, P, id, at)
    if ok and flow then
      pcall(look_at, flow)
    else
      redis.call('ZREM', workflows, id)
    end
    looked, budget = looked + 1, budget - 1
  end
end

-- A deferred job whose workflow does not know it can't ever begin.
local function look_at_deferred(id)
  local head = redis.pcall('HMGET', P .. ':job:' .. id, 'workflow', 'node', 'status')
  if head.err or not head[1] or head[3] ~= 'deferred' then
    return
  end
  local flow = {P = P, key = P .. ':fleet:workflow:' .. head[1], at = at}
  if of_node(flow, 'j', head[2] or '') ~= id then
    drop_job(flow, id, reason('Gone', 'its workflow is gone'))
  end
end

local function sweep_deferred()
  for _, key in ipairs(redis.call('SMEMBERS', P .. ':queues')) do
    local deferred = P .. ':deferred:' .. key:sub(#P + #':queue:' + 1)
    for _, id in ipairs(redis.call('ZRANDMEMBER', deferred, DEFERRED_AT_ONCE)) do
      pcall(look_at_deferred, id)
    end
  end
end

return tell_together(function()
  sweep_workflows()
  sweep_deferred()
  return looked
end)
