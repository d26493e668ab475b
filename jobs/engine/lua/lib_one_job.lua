-- Part of lease.lua: the one job that wakes an idle worker, which waits for this answer, so it is given before anything else
-- is looked at. Everything that a script makes and asks costs: this path asks Redis nine times and makes eight functions, the
-- other one 26 times and 90. Where there is more than one job, or more to say than that a run of a tiny type begins for the
-- first time, the id lies where it was again, and the rest of lease.lua decides.
-- The answer is one text, each part but the last with a line feed behind it: server time (ms), request, the head (type, tenant,
-- timeout, queue, lane), and the run as it is told briefly.
--include lib_time
--include lib_brief

-- How to pop two ids of the lists, if one of them has something and nothing is paused, broken or put aside.
local function pop_of_one()
  local pop, keys = {#queues * 2}, {P .. ':suspended', P .. ':fleet:paused', P .. ':fleet:breakers'}
  for _, queue in ipairs(queues) do
    local inbox, list, n, m = P .. ':fleet:inbox:' .. worker .. ':' .. queue, P .. ':queue:' .. queue, #pop, #keys
    pop[n + 1], pop[n + 2] = inbox, list
    keys[m + 1], keys[m + 2], keys[m + 3] = inbox, list, P .. ':fleet:overflowed:' .. queue
  end
  local n = #pop
  pop[n + 1], pop[n + 2], pop[n + 3] = 'LEFT', 'COUNT', '2'
  return redis.call('EXISTS', unpack(keys)) == 1 and pop
end

-- The run's fields and lane; nil where it is none to begin here.
local function simple_run(id, key, list)
  local fields = is_id(id) and redis.pcall('HMGET', key, unpack(SOON))
  if not fields or fields.err or fields[6] or fields[14] or fields[15] or fields[11] ~= 'queued' or not fields[1]
    or (fields[2] or '') == '' or not is_brief(fields) then
    return nil
  end
  local lane = fields[12] ~= '' and free[fields[12] or ''] and fields[12] or default_lane
  if (fields[2] .. (fields[3] or '') .. (fields[4] or '') .. list .. lane):find('\n', 1, true) then
    return nil
  end
  local taken = tiny[fields[2]] or SLOT
  if taken < SLOT and taken < room and taken <= free[lane] then
    return fields, lane
  end
end

local function begin_one(id, key, queue, fields, lane)
  local execution = request .. '0000'
  redis.call('HSET', key, 'status', 'started', 'started_at', rfc3339(seconds, time[2]), 'worker_name', worker, 'attempts', '1',
    'execution', execution)
  local runs = cjson.encode({request, {id, execution, queue, lane}})
  redis.call('SET', memory_key, runs, 'EX', 120)
  redis.call('HSET', P .. ':fleet:batch:' .. request, 'held', 'u', 'runs', runs)
  redis.call('ZADD', batches, lease_until, request)
  return ms .. '\n' .. request .. '\n' .. fields[2] .. '\n' .. (fields[3] or '') .. '\n' .. (fields[4] or '') .. '\n' .. queue .. '\n'
    .. lane .. '\n' .. brief('0000', id, '0\n', fields)
end

local function give_one()
  local pop = redis.call('GET', memory_key) == '["' .. ARGV[13] .. '"]' and pop_of_one()
  local popped = pop and redis.pcall('LMPOP', unpack(pop))
  if not popped or popped.err then
    return nil
  end
  local list, ids, at = popped[1], popped[2], 2
  local id, key = ids[1], P .. ':job:' .. ids[1]
  local fields, lane
  if not ids[2] then
    fields, lane = simple_run(id, key, list)
  end
  if not fields then
    redis.call('LPUSH', list, unpack(ids[2] and {ids[2], id} or ids))
    return nil
  end
  while pop[at] ~= list do
    at = at + 1
  end
  return begin_one(id, key, queues[math.floor(at / 2)], fields, lane)
end

local answer = ARGV[4] == '' and next(declared.windows) == nil and give_one()
if answer then
  return answer
end
