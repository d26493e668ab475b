-- Part of enqueue.lua: a call with one job that has nothing of its own goes straight to its queue, since its client, and
-- perhaps a worker, wait for it: each function that a script makes costs, and most calls are such. What is out of the
-- ordinary is undone and left to the rest of enqueue.lua, which also says what is wrong.
--include lib_event_clock

local function first_event(stream, id, head)
  local ok, begin, digit = pcall(next_event_id, P)
  local entry = ok and begin .. digit .. ' job:queued {"job_id":"' .. id .. head.event
  local length = ok and redis.pcall('RPUSH', stream, entry)
  if length == 1 then
    return entry
  elseif type(length) == 'number' then
    redis.call('RPOP', stream)
  end
end

local function write_fields(key, fields, created_at, correlation_id, data, topics)
  local n = #fields
  fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = 'created_at', created_at, 'enqueued_at', created_at
  fields[n + 5], fields[n + 6], fields[n + 7], fields[n + 8] = 'data', data, 'topics', topics
  if correlation_id ~= '' then
    fields[n + 9], fields[n + 10] = 'correlation_id', correlation_id
  end
  redis.call('HSET', key, unpack(fields))
end

local function accept_one()
  local head, id, key = cjson.decode(ARGV[3]), ARGV[7], P .. ':job:' .. ARGV[7]
  local topics, queue = head.scope .. id, head.queue
  if head.due or head.windows or topics:find(',', 1, true) or redis.call('EXISTS', key) == 1 then
    return nil
  end
  local list, stream = P .. ':queue:' .. queue, P .. ':events:' .. topics
  local entry = first_event(stream, id, head)
  if not entry then
    return nil
  elseif type(redis.pcall(head.front and 'LPUSH' or 'RPUSH', list, id)) ~= 'number' then
    redis.call('RPOP', stream)
    return nil
  end
  write_fields(key, head.fields, ARGV[4], ARGV[5], ARGV[8], topics)
  redis.pcall('SADD', P .. ':queues', list)
  redis.call('EXPIRE', stream, EVENTS.kept)
  redis.pcall('PUBLISH', stream, entry)
  return {}
end

local answer = n_heads == 1 and #ARGV == 9 and ARGV[9] == '' and accept_one()
if answer then
  return answer
end
