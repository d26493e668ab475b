#!lua flags=allow-oom
-- Hand out up to `capacity` jobs to a worker: its inbox first, then what was filed for lanes with room, then the queues in
-- the given order. Each job gets its lease, RQ's execution records and its status in this one step, so that no popped job
-- is ever owned by nobody. Repeating a request id gives the same answer.
-- ARGV: prefix, worker, request id, now (RFC 3339), lease (ms), RQ horizon (s), capacity, default lane,
--       free slots a lane (JSON), number of queues, the queues' names, then for each slot the queue to look at first (number).
-- Returns {server time (ms), blocked queues, {job...}}, a job being {id, execution, queue, lane, hash fields in FIELDS' order}.
--include lib_events
--include lib_execution
local P, worker, request, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_ms, horizon, capacity, default_lane = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local free, n_queues = cjson.decode(ARGV[9]), tonumber(ARGV[10])
local queues = {unpack(ARGV, 11, 10 + n_queues)}
local first_of_slot = 10 + n_queues
local FIELDS = {'data', 'type', 'tenant', 'timeout', 'deadline', 'attempts', 'topics', 'correlation_id', 'deaths',
  'success_callback_name', 'failure_callback_name', 'stopped_callback_name', 'webhooks', 'cancel_requested', 'final',
  'retries_left', 'retry_intervals', 'result_ttl', 'failure_ttl', 'unique_key'}
local time = redis.call('TIME')
local seconds, ms = tonumber(time[1]), tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local SCAN_LIMIT = 200

local memory_key = P .. ':fleet:lease-reply:' .. worker
local function remembered()
  local jobs = {}
  local memory = cjson.decode(redis.call('GET', memory_key) or '[""]')
  if memory[1] ~= request then
    return nil
  end
  for n = 2, #memory do
    local id, execution, queue, lane = unpack(memory[n])
    local fields = redis.call('HMGET', P .. ':job:' .. id, unpack(FIELDS))
    if fields[1] and redis.call('ZSCORE', P .. ':fleet:leases', id .. ':' .. execution) then
      jobs[#jobs + 1] = {id, execution, queue, lane, fields}
    end
  end
  return #jobs > 0 and jobs or nil
end

local suspended = redis.call('EXISTS', P .. ':suspended') == 1
local blocked, is_blocked = {}, {}
for _, queue in ipairs(queues) do
  if suspended or redis.call('SISMEMBER', P .. ':fleet:paused:queues', queue) == 1 then
    blocked[#blocked + 1] = queue
    is_blocked[queue] = true
  end
end

local scanned, filed, jobs, memory = 0, 0, remembered(), {request}
if jobs then
  return {ms, table.concat(blocked, ','), jobs}
end
jobs = {}

local function lane_of(name)
  if name and name ~= '' and free[name] ~= nil then
    return name
  end
  return default_lane
end

local function begin(id, queue, lane, key, fields)
  local execution = request .. string.format('%04x', #jobs)
  local member = id .. ':' .. execution
  if fields[15] == '1' then
    redis.call('HDEL', key, 'final', 'attempts', 'deaths', 'worker_deaths', 'progress', 'exc_info')
    redis.call('PERSIST', key)
    fields[6] = '0'
  end
  fields[6] = tostring((tonumber(fields[6] or '0') or 0) + 1)
  redis.call('HSET', key, 'status', 'started', 'started_at', now, 'last_heartbeat', now, 'ended_at', '',
    'worker_name', worker, 'attempts', fields[6], 'execution', execution)
  redis.call('ZADD', P .. ':fleet:leases', ms + lease_ms, member)
  redis.call('ZADD', P .. ':wip:' .. queue, seconds + horizon, member)
  redis.call('HSET', P .. ':execution:' .. member, 'id', execution, 'job_id', id, 'created_at', seconds,
    'last_heartbeat', seconds, 'worker_name', worker, 'queue', queue)
  redis.call('EXPIRE', P .. ':execution:' .. member, horizon)
  redis.call('ZADD', P .. ':executions:' .. id, seconds + horizon, execution)
  redis.call('EXPIRE', P .. ':executions:' .. id, horizon)
  redis.call('SADD', P .. ':worker:' .. worker .. ':executions', member)
  job_event(P, id, fields[7], 'job:started', {type = fields[2] or '', attempt = tonumber(fields[6])})
  free[lane] = free[lane] - 1
  jobs[#jobs + 1] = {id, execution, queue, lane, fields}
  memory[#memory + 1] = {id, execution, queue, lane}
end

-- Look at a popped id; true when it was handed out.
local function consider(id, queue)
  local key = P .. ':job:' .. id
  scanned = scanned + 1
  if not id:match('^[%w_-]+$') then
    quarantine(P, id, queue, 'the id is none that RQ allows', seconds)
    return false
  end
  local head = redis.pcall('HMGET', key, 'status', 'lane', 'execution')
  if head.err then
    quarantine(P, id, queue, 'the job is not a hash', seconds)
    return false
  end
  if head[1] ~= 'queued' then
    if not head[1] and redis.call('EXISTS', key) == 1 then
      quarantine(P, id, queue, 'the job has no status', seconds)
    end
    return false
  end
  -- Somebody put it back while its last run goes on: that run loses its lease, and the job waits until it is over.
  if head[3] and redis.call('ZREM', P .. ':fleet:leases', id .. ':' .. head[3]) == 1 then
    redis.call('HSET', key, 'status', 'scheduled')
    redis.call('ZADD', P .. ':scheduled:' .. queue, seconds + math.ceil(lease_ms / 1000), id)
    return false
  end
  local lane = lane_of(head[2])
  if free[lane] < 1 then
    redis.call('RPUSH', P .. ':fleet:overflow:' .. queue .. ':' .. lane, id)
    redis.call('SADD', P .. ':fleet:overflowed:' .. queue, lane)
    filed = filed + 1
    return false
  end
  local fields = redis.call('HMGET', key, unpack(FIELDS))
  if not fields[1] then
    quarantine(P, id, queue, 'the job has no data', seconds)
    return false
  end
  begin(id, queue, lane, key, fields)
  return true
end

local function pop_overflow(queue)
  for _, lane in ipairs(redis.call('SMEMBERS', P .. ':fleet:overflowed:' .. queue)) do
    local known = lane_of(lane)
    if free[known] > 0 then
      local id = redis.call('LPOP', P .. ':fleet:overflow:' .. queue .. ':' .. lane)
      if id then
        return id
      end
      redis.call('SREM', P .. ':fleet:overflowed:' .. queue, lane)
    end
  end
end

local function take_from(queue)
  if is_blocked[queue] then
    return false
  end
  while scanned < SCAN_LIMIT do
    local id = redis.call('LPOP', P .. ':fleet:inbox:' .. worker .. ':' .. queue)
      or pop_overflow(queue) or redis.call('LPOP', P .. ':queue:' .. queue)
    if not id then
      return false
    end
    local ok, taken = pcall(consider, id, queue)
    if not ok then
      pcall(quarantine, P, id, queue, 'it could not be leased: ' .. tostring(taken), seconds)
    elseif taken then
      return true
    end
  end
  return false
end

for slot = 1, capacity do
  local preferred = tonumber(ARGV[first_of_slot + slot])
  local taken = take_from(queues[preferred])
  local at = 1
  while not taken and at <= n_queues do
    taken = at ~= preferred and take_from(queues[at])
    at = at + 1
  end
  if not taken then
    break
  end
end

if #jobs == capacity or #blocked > 0 then
  for _, queue in ipairs(queues) do
    local inbox = P .. ':fleet:inbox:' .. worker .. ':' .. queue
    while redis.call('LMOVE', inbox, P .. ':queue:' .. queue, 'RIGHT', 'LEFT') do end
  end
end
if filed > 0 then
  redis.call('PUBLISH', P .. ':fleet:filed', filed)
end
if #jobs > 0 then
  redis.call('SET', memory_key, cjson.encode(memory), 'EX', 120)
end
return {ms, table.concat(blocked, ','), jobs, scanned >= SCAN_LIMIT and 1 or 0}
