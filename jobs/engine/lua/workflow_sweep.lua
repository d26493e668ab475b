#!lua flags=allow-oom
-- Put workflows right that nobody moved on: whose jobs RQ's tools cancelled, deleted or ran, whose jobs expired, whose
-- follow-up was lost. Looks at those first that were looked at longest ago, and at about AT_ONCE nodes a call. Safe to
-- repeat. ARGV: prefix, now (RFC 3339). Returns how many workflows it looked at.
--include lib_events
--include lib_execution
--include lib_gates
--include lib_workflow
local P, at, AT_ONCE = ARGV[1], clock_of(ARGV[2]), 5000
local looked, budget, workflows = 0, AT_ONCE, P .. ':fleet:workflows'

-- How each node is, and whether one of them has a job that is not deferred.
local function states_of(flow)
  local all, states, busy = redis.call('HGETALL', flow.key .. ':state'), {}, false
  for n = 1, #all, 2 do
    local node = all[n]:match('^s:(.*)$')
    if node then
      states[node], busy = all[n + 1], busy or all[n + 1] == 'queued'
    end
  end
  budget = budget - #all / 4
  return states, busy
end

-- What a waiting node waits for by the states of its parents, whatever was counted.
local function count_parents(flow, node, states, work)
  local left, blocked = 0, nil
  for _, edge in ipairs(plan_of(flow, node).after) do
    local parent = edge[1]
    if LIVE_NODE[states[parent]] then
      left = left + 1
    elseif states[parent] ~= 'completed' and edge[2] ~= 'continue' then
      blocked = passed_on(parent, states[parent], of_node(flow, 'e', parent) or reason('Failed', 'it failed'))
    end
  end
  set_node(flow, 'p', node, left)
  work[#work + 1] = blocked and {node, 'skipped', blocked} or nil
  if left == 0 and not blocked then
    release(flow, node)
  end
end

-- Nothing is under way though something waits: a step broke off, for what reason ever. The nodes' states decide.
local function repair(flow, states)
  local work, done, bad = {}, 0, 0
  for node, state in pairs(states) do
    if node:sub(1, 5) ~= 'undo:' and not LIVE_NODE[state] then
      done = done + 1
      bad = bad + ((state ~= 'completed' and counts_as_bad(plan_of(flow, node))) and 1 or 0)
    elseif state == 'waiting' and node:sub(1, 5) ~= 'undo:' then
      count_parents(flow, node, states, work)
    end
  end
  redis.call('HSET', flow.key, 'done', done, 'bad', bad)
  end_nodes(flow, work)
  if flow.status == 'compensating' then
    undo_next(flow)
  elseif flow.status == 'running' and done == tonumber(redis.call('HGET', flow.key, 'total')) then
    end_or_undo(flow)
  end
end

local function is_live(flow)
  flow.status = redis.call('HGET', flow.key, 'status')
  return flow.status == 'running' or flow.status == 'compensating'
end

local function look_at(flow)
  for node, state in pairs(states_of(flow)) do
    if LIVE_NODE[state] then
      observe(flow, node, of_node(flow, 'j', node))
    end
  end
  local states, busy = states_of(flow)
  if is_live(flow) and not busy then
    repair(flow, states)
  end
  if is_live(flow) then
    list_as(flow, 'running')
    for _, part in ipairs(WORKFLOW_PARTS) do
      redis.call('EXPIRE', flow.key .. part, LIVE_KEPT)
    end
  end
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
      redis.call('ZREM', workflows .. ':running', id)
    end
    looked, budget = looked + 1, budget - 1
  end
end

return tell_together(function()
  sweep_workflows()
  return looked
end)
