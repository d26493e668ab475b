-- Nodes that are to begin, of a new workflow or of a replay: their jobs, what they wait for, and what may begin at once.
-- ARGV from `first`: number of heads, then the heads (JSON: queue, scope, fields); then 6 a node: number of its head, name,
-- job id, data, more hash fields (JSON object), its plan (JSON). Of a compensation (`undo:NODE`) the plan is kept with head
-- and fields, and its job is made when it is needed.
--include lib_workflow
local function read_nodes(first)
  local n_heads, nodes, heads = tonumber(ARGV[first]), {}, {}
  for at = first + 1 + n_heads, #ARGV - 5, 6 do
    local number, name = tonumber(ARGV[at]), ARGV[at + 1]
    heads[number] = heads[number] or cjson.decode(ARGV[first + number])
    nodes[#nodes + 1] = {name = name, id = ARGV[at + 2], data = ARGV[at + 3], more = cjson.decode(ARGV[at + 4]),
      plan = cjson.decode(ARGV[at + 5]), told = ARGV[at + 5], head = heads[number], is_undo = name:sub(1, 5) == 'undo:'}
  end
  return nodes
end

local function write_node(flow, node)
  local told = node.told
  if node.is_undo then
    node.plan.head, node.plan.more = node.head, node.more
    told = cjson.encode(node.plan)
  else
    set_node(flow, 's', node.name, 'waiting')
  end
  redis.call('HSET', flow.key .. ':plan', node.name, told)
  redis.call('HSET', flow.key .. ':data', node.name, node.data)
  set_node(flow, 'j', node.name, node.id)
end

-- The parents that it waits for, and why it can't begin where a parent outside has ended badly.
local function parents_of(flow, node, new)
  local waits_for, blocked = {}, nil
  for _, edge in ipairs(node.plan.after) do
    local parent, policy = edge[1], edge[2]
    if new[parent] then
      waits_for[#waits_for + 1] = new[parent].id
    else
      local state = of_node(flow, 's', parent)
      if state ~= 'completed' and policy ~= 'continue' then
        blocked = passed_on(parent, state, of_node(flow, 'e', parent))
      end
    end
  end
  return waits_for, blocked
end

-- A node that had ended when somebody looked last stays so, with its result.
local function is_known(flow, known, name)
  if not known or LIVE_NODE[known.state['s:' .. name] or 'waiting'] then
    return false
  end
  for _, kind in ipairs({'s', 'o', 'e', 'u', 'j'}) do
    local value = known.state[kind .. ':' .. name]
    if value then
      set_node(flow, kind, name, value)
    end
  end
  if known.results[name] then
    redis.call('HSET', flow.key .. ':results', name, known.results[name])
  end
  return true
end

-- Writes nodes and jobs, without those that are `known` to have ended. Returns what may begin at once, and what ends at once
-- as work for `end_nodes`.
local function write_nodes(flow, nodes, known)
  local new, ready, work = {}, {}, {}
  for _, node in ipairs(nodes) do
    write_node(flow, node)
    if not is_known(flow, known, node.name) then
      new[node.name] = node
    end
  end
  for _, node in ipairs(nodes) do
    if new[node.name] and not node.is_undo then
      local waits_for, blocked = parents_of(flow, node, new)
      make_job(flow, node.name, node.id, node, waits_for)
      set_node(flow, 'p', node.name, #waits_for)
      work[#work + 1] = blocked and {node.name, 'skipped', blocked} or nil
      ready[#ready + 1] = #waits_for == 0 and not blocked and node.name or nil
    end
  end
  redis.call('ZADD', flow.P .. ':fleet:workflows', flow.at.seconds + LOOK_AGAIN, flow.id)
  list_as(flow, 'running')
  for _, part in ipairs(WORKFLOW_PARTS) do
    redis.call('EXPIRE', flow.key .. part, LIVE_KEPT)
  end
  return ready, work
end

-- How many nodes have ended, and how many of these badly.
local function count_ended(flow)
  local all, done, bad = redis.call('HGETALL', flow.key .. ':state'), 0, 0
  for n = 1, #all, 2 do
    local node, state = all[n]:match('^s:(.*)$'), all[n + 1]
    if node and node:sub(1, 5) ~= 'undo:' and not LIVE_NODE[state] then
      done = done + 1
      bad = bad + ((state ~= 'completed' and counts_as_bad(plan_of(flow, node))) and 1 or 0)
    end
  end
  redis.call('HSET', flow.key, 'done', done, 'bad', bad)
  return done
end

-- What could not begin for whatever reason does with the next sweep.
local function begin_nodes(flow, ready, work)
  for _, name in ipairs(ready) do
    pcall(release, flow, name)
  end
  pcall(end_nodes, flow, work)
end

-- Nothing of these nodes' jobs stays.
local function take_back(flow, nodes)
  for _, node in ipairs(nodes) do
    local key = flow.P .. ':job:' .. node.id
    redis.pcall('UNLINK', key, key .. ':dependents', flow.P .. ':job::' .. node.id .. ':dependencies')
    redis.pcall('ZREM', flow.P .. ':deferred:' .. node.head.queue, node.id)
  end
end
