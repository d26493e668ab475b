-- Part of lease.lua: the fields of a job's hash, by their places in FIELDS; those in MORE have names.
-- SOON is what this script needs to know of every job, and REST what is told of it besides, unless it is a first run in a
-- batch; then what only a job has that was leased before, or is a plain RQ client's: of that the worker is told the first six.
-- A field costs 0.1 us also where there is none, a call 2 us: a worker that knows no tiny types asks for the REST at once.
local REST = {'topics', 'success_callback_name', 'failure_callback_name', 'stopped_callback_name', 'webhooks'}
local MORE = {'deaths', 'cancel_requested', 'retries_left', 'retry_intervals', 'result_ttl', 'failure_ttl', 'execution',
  'ended_at', 'worker_deaths', 'given_back'}
local FIELDS, TOLD, TOLD_MORE = SOON, #SOON + #REST, 6
if not next(tiny) then
  FIELDS = {unpack(SOON)}
  for _, name in ipairs(REST) do
    FIELDS[#FIELDS + 1] = name
  end
end

local function read_fields(key)
  local fields = redis.pcall('HMGET', key, unpack(FIELDS))
  if not fields.err and (fields[6] or fields[14] or (fields[2] or '') == '') then
    local more = redis.call('HMGET', key, unpack(MORE))
    fields.deaths, fields.execution, fields.ended_at, fields.worker_deaths, fields.given_back = more[1], unpack(more, 7, 10)
    fields.more = more
  end
  return fields
end

local function read_rest(key, fields)
  if fields[TOLD] == nil then
    local rest = redis.call('HMGET', key, unpack(REST))
    for n = 1, #REST do
      fields[#SOON + n] = rest[n]
    end
  end
end

-- What the worker is told of a run: the fields, the run, and what else there is.
local function told(key, fields, id, execution, queue, lane, is_batched)
  read_rest(key, fields)
  fields[TOLD + 1], fields[TOLD + 2], fields[TOLD + 3], fields[TOLD + 4] = id, execution, queue, lane
  fields[TOLD + 5] = is_batched and 1 or 0
  if fields.more then
    for n = 1, TOLD_MORE do
      fields[TOLD + 5 + n] = fields.more[n]
    end
    prepare_foreign_run(key, fields, TOLD + 5 + TOLD_MORE)
  end
  return fields
end

-- The heads of runs that are told briefly (lib_brief).
local told_heads, head, ALIKE = {}, {}, 16
local function is_headed(by, fields, queue, lane)
  return by[1] == fields[2] and by[2] == fields[3] and by[3] == fields[4] and by[4] == queue and by[5] == lane
end

local function head_of(fields, queue, lane)
  if is_headed(head, fields, queue, lane) then
    return head.number
  end
  for n = #told_heads, math.max(1, #told_heads - ALIKE), -1 do
    if is_headed(told_heads[n], fields, queue, lane) then
      head = told_heads[n]
      return head.number
    end
  end
  head = {fields[2], fields[3], fields[4], queue, lane, number = #told_heads .. '\n'}
  told_heads[#told_heads + 1] = head
  return head.number
end

-- Nil where there is more to say.
local function told_briefly(fields, id, place, queue, lane)
  if fields.more or not is_brief(fields) then
    return nil
  end
  return brief(place, id, head_of(fields, queue, lane), fields)
end
