-- Workflows: nodes and edges between them. Each node has a job of RQ's, which is deferred until the node's parents have
-- ended. All that a workflow needs to go on lies in its own keys, so that its jobs may expire, or be deleted by anybody:
-- the hash of its name (status, topic, total, done, bad, kept ...) and beside it `plan` (what each node is: JSON {queue,
-- type, after, next, keep}), `state` (j:NODE its job, s:NODE how it is, p:NODE how many parents have not ended, o:NODE when
-- it ended in the order of ends, e:NODE why), `results` (base64, of nodes whose results others take) and `data` (what was
-- signed). Edges are [node, policy]: fail, continue or compensate. The compensation of NODE is the node `undo:NODE`.
-- A node is waiting or queued, and then completed, failed, cancelled or skipped for good; only a replay changes that.
local WORKFLOW_PARTS = {'', ':plan', ':state', ':results', ':data'}
local LIVE_KEPT, LOOK_AGAIN, SHORTEST, LARGEST_RESULT, LARGEST_RESULTS = 90 * 86400, 10, 60, 349528, 44739244
local LIVE_NODE = {waiting = true, queued = true}
local ENDED_NODE = {finished = 'completed', failed = 'failed', canceled = 'cancelled', stopped = 'cancelled'}
local KEPT_AS = {completed = 'finished', failed = 'failed', cancelled = 'cancelled'}

local function open_workflow(P, id, at)
  local key = P .. ':fleet:workflow:' .. id
  local head = redis.call('HMGET', key, 'status', 'topic', 'kept', 'name')
  return head[1] and {P = P, id = id, key = key, status = head[1], topic = head[2], kept = tonumber(head[3]), name = head[4],
    at = at}
end

local function clock_of(now)
  local time = redis.call('TIME')
  local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  return {seconds = tonumber(time[1]), ms = ms, now = now}
end

local function of_node(flow, kind, node)
  return redis.call('HGET', flow.key .. ':state', kind .. ':' .. node)
end

local function set_node(flow, kind, node, value)
  redis.call('HSET', flow.key .. ':state', kind .. ':' .. node, value)
end

local function plan_of(flow, node)
  return cjson.decode(redis.call('HGET', flow.key .. ':plan', node))
end

local function reason(kind, message)
  return cjson.encode({type = kind, message = message:sub(1, 1000)})
end

-- The error that a job's hash tells, in our words; anybody may have written it.
local function reason_of(text)
  local ok, about = pcall(cjson.decode, text or '')
  ok = ok and type(about) == 'table'
  local kind, message = ok and about.type, ok and about.message
  return reason(type(kind) == 'string' and kind:sub(1, 100) or 'Failed', type(message) == 'string' and message or 'it failed')
end

local function tell_workflow(flow, name, extra)
  extra.workflow_id, extra.name = flow.id, flow.name
  pcall(emit, flow.P, flow.topic, name, cjson.encode(extra))
end

-- How a job has ended, and why; nil and its status when it has not.
local function end_of(P, id)
  local head = redis.pcall('HMGET', P .. ':job:' .. id, 'status', 'error', 'quarantined')
  if head.err or (not head[1] and not head[3]) then
    return 'failed', reason('Gone', 'its job was deleted or has expired')
  elseif head[3] then
    return 'failed', reason('Quarantined', head[3])
  end
  local state = ENDED_NODE[head[1]]
  if state == 'cancelled' and (head[2] or '') == '' then
    return state, reason('Cancelled', 'it was cancelled')
  end
  return state, state and state ~= 'completed' and reason_of(head[2]) or nil, head[1]
end

local function holder_of(P, lock)
  local holder = redis.call('GET', P .. ':fleet:unique:' .. lock)
  local status = holder and redis.pcall('HGET', P .. ':job:' .. holder, 'status')
  return (status == 'queued' or status == 'started' or status == 'scheduled') and holder or nil
end

-- Let a node's job begin. Where another has its unique lock it goes on waiting: the sweep tries again.
local function release(flow, node)
  local P, id = flow.P, of_node(flow, 'j', node)
  local key = P .. ':job:' .. id
  local status, queue, gates, topics, job_type, unique = unpack(
    redis.call('HMGET', key, 'status', 'origin', 'gates', 'topics', 'type', 'unique_key'))
  if status == 'deferred' or status == 'ready_to_enqueue' then
    if unique then
      local holder = holder_of(P, unique)
      if holder and holder ~= id then
        return
      end
      redis.call('SET', P .. ':fleet:unique:' .. unique, id, 'EX', 7 * 86400)
    end
    redis.call('ZREM', P .. ':deferred:' .. queue, id)
    redis.call('ZREM', P .. ':ready:' .. queue, id)
    redis.call('HSET', key, 'status', 'queued', 'enqueued_at', flow.at.now)
    if arrive(P, id, queue, gates_of(gates), 1, false, flow.at.ms) then
      redis.call('RPUSH', P .. ':queue:' .. queue, id)
    end
    job_event(P, id, topics, 'job:queued', {type = job_type or '', attempt = 0})
  end
  set_node(flow, 's', node, 'queued')
end

-- A job that will never begin: no tool of RQ's sees it as deferred any more.
local function drop_job(flow, id, why)
  local P = flow.P
  local key = P .. ':job:' .. id
  local status, queue, topics, job_type, kept = unpack(
    redis.call('HMGET', key, 'status', 'origin', 'topics', 'type', 'result_ttl'))
  if status ~= 'deferred' and status ~= 'ready_to_enqueue' then
    return
  end
  kept = math.max(SHORTEST, tonumber(kept or '') or 0)
  redis.call('ZREM', P .. ':deferred:' .. queue, id)
  redis.call('ZREM', P .. ':ready:' .. queue, id)
  redis.call('HSET', key, 'status', 'canceled', 'ended_at', flow.at.now, 'final', '1', 'error', why)
  redis.call('EXPIRE', key, kept)
  redis.call('ZADD', P .. ':canceled:' .. queue, flow.at.seconds + kept, id)
  redis.call('ZADD', P .. ':fleet:ended:cancelled:' .. job_type, flow.at.seconds, id)
  redis.call('HINCRBY', P .. ':fleet:counters', 'cancelled:' .. job_type, 1)
  redis.call('DEL', P .. ':job:' .. id .. ':dependents', P .. ':job::' .. id .. ':dependencies')
  job_event(P, id, topics, 'job:cancelled', {type = job_type, attempt = 0, error = cjson.decode(why)})
end

-- A result that others take stays with the workflow; '!' is one that is too large for that.
local function keep_result(flow, node, id)
  local last, value = redis.call('XREVRANGE', flow.P .. ':results:' .. id, '+', '-', 'COUNT', 1)[1], ''
  for n = 1, last and #last[2] or 0, 2 do
    value = last[2][n] == 'return_value' and last[2][n + 1] or value
  end
  if #value > LARGEST_RESULT or redis.call('HINCRBY', flow.key, 'bytes', #value) > LARGEST_RESULTS then
    value = '!'
  end
  redis.call('HSET', flow.key .. ':results', node, value)
end

-- The settle script kept the job until its workflow knew of its end; from now on it is kept like any other.
local function let_expire(flow, id, state)
  local P, key = flow.P, flow.P .. ':job:' .. id
  local kept, queue, job_type = unpack(
    redis.call('HMGET', key, state == 'completed' and 'result_ttl' or 'failure_ttl', 'origin', 'type'))
  kept = math.max(SHORTEST, tonumber(kept or '') or 0)
  redis.call('EXPIRE', P .. ':job::' .. id .. ':dependencies', queue and kept or SHORTEST, 'LT')
  if not KEPT_AS[state] or not queue or not job_type then
    return
  end
  redis.call('EXPIRE', key, kept, 'LT')
  redis.call('EXPIRE', P .. ':results:' .. id, kept, 'LT')
  redis.call('EXPIRE', P .. ':fleet:steps:' .. id, kept, 'LT')
  redis.call('ZADD', P .. ':' .. (state == 'completed' and 'finished' or 'failed') .. ':' .. queue, 'XX', 'LT',
    flow.at.seconds + kept, id)
  redis.call('ZADD', P .. ':fleet:ended:' .. KEPT_AS[state] .. ':' .. job_type, flow.at.seconds, id)
end

-- A job's hash as the enqueue script would write it, but deferred. `made` is what the client told: {head, more, data}.
local function make_job(flow, node, id, made, parents)
  local P, head, more = flow.P, made.head, made.more
  local fields, topics = {}, head.scope .. id .. ',' .. flow.topic
  local function add_field(name, value)
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  -- The ledger knows nothing of the jobs of a workflow, even of a durable type.
  for n = 1, #head.fields, 2 do
    if head.fields[n] ~= 'ledger' then
      add_field(head.fields[n], head.fields[n + 1])
    end
  end
  for name, value in pairs(more) do
    if name == 'topics' then
      topics = topics .. ',' .. value
    else
      add_field(name, value)
    end
  end
  add_field('data', made.data)
  add_field('topics', topics)
  add_field('created_at', flow.at.now)
  add_field('status', 'deferred')
  add_field('workflow', flow.id)
  add_field('node', node)
  if #parents > 0 then
    add_field('dependency_id', parents[1])
    add_field('dependency_ids', cjson.encode(parents))
    for at = 1, #parents, 1000 do
      redis.call('SADD', P .. ':job::' .. id .. ':dependencies', unpack(parents, at, math.min(at + 999, #parents)))
    end
    for _, parent in ipairs(parents) do
      redis.call('SADD', P .. ':job:' .. parent .. ':dependents', id)
    end
  end
  redis.call('HSET', P .. ':job:' .. id, unpack(fields))
  redis.call('ZADD', P .. ':deferred:' .. head.queue, flow.at.seconds, id)
  redis.call('SADD', P .. ':queues', P .. ':queue:' .. head.queue)
end
