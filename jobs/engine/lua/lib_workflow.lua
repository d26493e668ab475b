-- Workflows on their way: what follows when nodes end, up to the end of the whole and its compensations.
--include lib_workflow_node
local ENDED_LISTED = 10000

-- For lists: the newest first by when they began or, of the newest 10,000 that have ended, by when they ended.
local function list_as(flow, state)
  local lists, now = flow.P .. ':fleet:workflows:', string.format('%.3f', flow.at.ms / 1000)
  redis.call('ZREM', lists .. (state == 'ended' and 'running' or 'ended'), flow.id)
  redis.call('ZADD', lists .. state, 'NX', now, flow.id)
  if state == 'ended' then
    redis.call('ZREMRANGEBYRANK', lists .. 'ended', 0, -ENDED_LISTED - 1)
  end
end

local function end_workflow(flow)
  local cancelled, bad = unpack(redis.call('HMGET', flow.key, 'cancelled_at', 'bad'))
  local status = cancelled and 'cancelled' or (tonumber(bad) > 0 and 'failed' or 'completed')
  flow.status = status
  redis.call('HSET', flow.key, 'status', status, 'ended_at', flow.at.now)
  -- A durable one the ledger would give back if it were gone before its end is known there; see workflow_noted.lua.
  local kept = redis.call('HEXISTS', flow.key, 'durable') == 1 and LIVE_KEPT or flow.kept
  for _, part in ipairs(WORKFLOW_PARTS) do
    redis.call('EXPIRE', flow.key .. part, kept)
  end
  redis.call('ZREM', flow.P .. ':fleet:workflows', flow.id)
  list_as(flow, 'ended')
  tell_workflow(flow, 'workflow:' .. status, {status = status})
end

-- What is to be undone: of the nodes that broke off, all ancestors that completed and have a compensation, the last first.
local function to_undo(flow)
  local all, state, seen, work, found = redis.call('HGETALL', flow.key .. ':state'), {}, {}, {}, {}
  for n = 1, #all, 2 do
    state[all[n]] = all[n + 1]
    work[#work + 1] = all[n]:match('^u:(.*)$')
  end
  while #work > 0 do
    for _, edge in ipairs(plan_of(flow, table.remove(work)).after) do
      local parent = edge[1]
      if not seen[parent] then
        seen[parent], work[#work + 1] = true, parent
        local undoable = state['s:' .. parent] == 'completed' and state['j:undo:' .. parent]
        found[#found + 1] = undoable and parent or nil
      end
    end
  end
  table.sort(found, function(a, b) return tonumber(state['o:' .. a]) > tonumber(state['o:' .. b]) end)
  return found
end

local function undo_next(flow)
  local cancelled, text = unpack(redis.call('HMGET', flow.key, 'cancelled_at', 'undoing'))
  local left = cancelled and {} or cjson.decode(text)
  local undone = table.remove(left, 1)
  redis.call('HSET', flow.key, 'undoing', cjson.encode(left))
  if not undone then
    return end_workflow(flow)
  end
  local node = 'undo:' .. undone
  local made = plan_of(flow, node)
  made.data = redis.call('HGET', flow.key .. ':data', node)
  make_job(flow, node, of_node(flow, 'j', node), made, {})
  set_node(flow, 's', node, 'waiting')
  release(flow, node)
end

-- All nodes have ended. Nothing is undone before, since something that still runs may rest on it.
local function end_or_undo(flow)
  local cancelled, undo = unpack(redis.call('HMGET', flow.key, 'cancelled_at', 'undo'))
  local nodes = undo and not cancelled and to_undo(flow) or {}
  if #nodes == 0 then
    return end_workflow(flow)
  end
  flow.status = 'compensating'
  redis.call('HSET', flow.key, 'status', flow.status, 'undoing', cjson.encode(nodes))
  tell_workflow(flow, 'workflow:compensating', {nodes = nodes})
  undo_next(flow)
end

-- A compensation has ended, whether well or not: the next one is tried.
local function end_undo(flow, node, state, why)
  set_node(flow, 's', node, state)
  if why then
    set_node(flow, 'e', node, why)
  end
  let_expire(flow, of_node(flow, 'j', node), state)
  tell_workflow(flow, 'workflow:undone', {node = node:sub(6), status = state, error = why and cjson.decode(why) or nil})
  undo_next(flow)
end

-- Whether a node that does not complete makes the whole workflow a failed one: unless all that follows goes on without it.
local function counts_as_bad(plan)
  for _, edge in ipairs(plan.next) do
    if edge[2] ~= 'continue' then
      return true
    end
  end
  return #plan.next == 0
end

local function has_policy(edges, policy)
  for _, edge in ipairs(edges) do
    if edge[2] == policy then
      return true
    end
  end
end

-- One node ends for good. Returns its plan, or nil when it had ended before.
local function end_node(flow, node, state, why)
  if not LIVE_NODE[of_node(flow, 's', node) or ''] then
    return nil
  end
  local plan, id = plan_of(flow, node), of_node(flow, 'j', node)
  set_node(flow, 's', node, state)
  set_node(flow, 'o', node, redis.call('HINCRBY', flow.key, 'ends', 1))
  if why then
    set_node(flow, 'e', node, why)
  end
  if state == 'completed' and plan.keep then
    keep_result(flow, node, id)
  end
  if state ~= 'completed' then
    drop_job(flow, id, why)
    redis.call('HINCRBY', flow.key, 'bad', counts_as_bad(plan) and 1 or 0)
    if has_policy(plan.after, 'compensate') then
      set_node(flow, 'u', node, '1')
      redis.call('HSET', flow.key, 'undo', '1')
    end
  end
  let_expire(flow, id, state)
  local done, total = redis.call('HINCRBY', flow.key, 'done', 1), tonumber(redis.call('HGET', flow.key, 'total'))
  tell_workflow(flow, 'workflow:progress', {node = node, job_id = id, status = state, done = done, total = total,
    percent = math.floor(1000 * done / total) / 10, error = why and cjson.decode(why) or nil})
  return plan, id, done == total
end

-- What a child is told that is skipped: the first cause, however far away.
local function passed_on(node, state, why)
  if state == 'skipped' then
    return why
  end
  return reason('ParentFailed', node .. (state == 'cancelled' and ' was cancelled: ' or ' failed: ') .. cjson.decode(why).message)
end

-- A parent has ended: its children come nearer to their begin, or will never begin.
local function move_children(flow, node, plan, id, state, why, work, ready)
  for _, edge in ipairs(plan.next) do
    local child, policy = edge[1], edge[2]
    redis.call('SREM', flow.P .. ':job:' .. id .. ':dependents', of_node(flow, 'j', child))
    if state == 'completed' or policy == 'continue' then
      if redis.call('HINCRBY', flow.key .. ':state', 'p:' .. child, -1) == 0 then
        ready[#ready + 1] = child
      end
    else
      work[#work + 1] = {child, 'skipped', passed_on(node, state, why)}
    end
  end
end

-- Nodes end ({node, state, why} each), and so does everything behind them that can't begin any more; what can begins.
local function end_nodes(flow, work)
  local ready, all_done, at = {}, false, 1
  while work[at] do
    local node, state, why = unpack(work[at])
    local plan, id, last = end_node(flow, node, state, why)
    if plan then
      all_done = all_done or last
      move_children(flow, node, plan, id, state, why, work, ready)
    end
    at = at + 1
  end
  for _, node in ipairs(ready) do
    if of_node(flow, 's', node) == 'waiting' then
      release(flow, node)
    end
  end
  if all_done then
    end_or_undo(flow)
  end
end

-- Look how a node's job is, and do what follows from that. Safe to repeat: what is known is not done again.
local function observe(flow, node, id)
  local state = of_node(flow, 's', node)
  if not LIVE_NODE[state or ''] or of_node(flow, 'j', node) ~= id then
    return
  end
  local ended, why, status = end_of(flow.P, id)
  if ended and node:sub(1, 5) == 'undo:' then
    end_undo(flow, node, ended, why)
  elseif ended then
    end_nodes(flow, {{node, ended, why}})
  elseif state == 'waiting' and status ~= 'deferred' and status ~= 'ready_to_enqueue' then
    set_node(flow, 's', node, 'queued')
  elseif state == 'waiting' and of_node(flow, 'p', node) == '0' then
    release(flow, node)
  end
end

-- The same for a job by its id. Whether it is one of a workflow's.
local function observe_job(P, id, at)
  local head = redis.pcall('HMGET', P .. ':job:' .. id, 'workflow', 'node')
  if head.err or not head[1] or not head[2] then
    return false
  end
  local ok, flow = pcall(open_workflow, P, head[1], at)
  if ok and flow then
    pcall(observe, flow, head[2], id)
  end
  return true
end
