-- Accept a batch of jobs. Does nothing for an id that exists, so that it can be sent again.
-- ARGV: prefix, number of heads; then 3 a head: what its jobs have in common (JSON: queue, due, front, scope, event, fields,
--       windows),
--       created at (RFC 3339), correlation id; then 4 a job: number of its head, id, data, more hash fields (JSON object) or ''.
-- `due` is epoch seconds, or '+' and seconds from now, or nothing; `front` is true to go before the others; `scope` stands
-- before the id in its topic; `event` is the end of its event's data, after the id; `fields` are hash fields and values.
-- `windows` are the rate windows of the lane, KEY=COUNT with spaces between; a job that a window, or one of its own
-- `gates`, does not let through is filed there.
-- Of the further fields `topics` are added to the job's own, and `unique_key` ('TYPE:VALUE') is a lock to take.
-- At the end there may be a fence, 2 more: a life of Redis, and the time (epoch s) after which the call comes too late; also
-- too late is what was thrown away meanwhile.
-- Returns 3 for each job that was not accepted: its place from 1, 0 (that id exists) or 2 (the lock is held), the known id;
-- where the fence keeps out all of them 0, 3 and nothing.
local P, n_heads = ARGV[1], tonumber(ARGV[2])
--include lib_one_new_job
--include lib_events
--include lib_taking_back
local LIVE = {queued = true, started = true, scheduled = true, deferred = true, ready_to_enqueue = true}
local LOCK_KEPT, EXISTS, HELD, LATE = 7 * 86400, 0, 2, 3
local heads, lists, keys, refused, first_job = {}, {}, {}, {}, 3 + 3 * n_heads

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function epoch(due)
  local now = clock()
  return due:sub(1, 1) == '+' and now + tonumber(due) or tonumber(due), now
end

-- Most calls need no gates, and every function that a script makes costs.
local function gates_library()
--include lib_filing
  return {first_shut = first_shut, line_up = line_up, send_lines = send_lines, gates_of = gates_of, ms = math.floor(clock() * 1000)}
end

local library
local function gate_before(id, head, gates)
  if head.due or not (gates or head.windows) then
    return nil
  end
  library = library or gates_library()
  return library.first_shut(P, id, head.queue, library.gates_of(gates, head.windows), library.ms)
end

-- The ids (with their scores) that go to one key together.
local function list_of(command, kind, queue)
  local key = P .. kind .. queue
  local list = lists[command .. key]
  if not list then
    list = {command = command, key = key, queue = queue}
    lists[command .. key], lists[#lists + 1] = list, list
  end
  return list
end

local function read_head(common, created_at, correlation_id)
  local head = cjson.decode(common)
  local fields = head.fields
  local n = #fields + 2
  fields[n - 1], fields[n] = 'created_at', created_at
  if head.due then
    head.due, head.now = epoch(head.due)
    head.list = list_of('ZADD', ':scheduled:', head.queue)
  else
    n = n + 2
    fields[n - 1], fields[n] = 'enqueued_at', created_at
    head.list = list_of(head.front and 'LPUSH' or 'RPUSH', ':queue:', head.queue)
  end
  if correlation_id ~= '' then
    n = n + 2
    fields[n - 1], fields[n] = 'correlation_id', correlation_id
  end
  fields[n + 1], fields[n + 3], head.n = 'data', 'topics', n + 4
  return head
end

-- What is no text is no lock of ours, and the new one takes its place.
local function live_holder(lock)
  local holder = redis.pcall('GET', lock)
  local status = type(holder) == 'string' and redis.pcall('HGET', P .. ':job:' .. holder, 'status')
  if type(status) == 'string' and LIVE[status] then
    return holder
  end
end

local function lock_for(id, unique, head)
  local kept = LOCK_KEPT + (head.due and math.max(0, head.due - head.now) or 0)
  redis.call('SET', P .. ':fleet:unique:' .. unique, id, 'EX', string.format('%d', kept))
end

-- Where an accepted job goes.
local function place(id, head, topics, gate)
  local list = head.list
  list.known = true
  if head.due then
    list[#list + 1] = string.format('%.6f', head.due)
    list[#list + 1] = id
    return
  end
  if gate then
    library.line_up(gate, head.queue, id, head.front and 'front' or 'back')
  else
    list[#list + 1] = id
  end
  pcall(emit, P, topics, 'job:queued', '{"job_id":"' .. id .. head.event)
end

local function accept(id, key, head, data, more)
  local fields, n, topics = head.fields, head.n, head.scope .. id
  for name, value in pairs(more) do
    if name == 'topics' then
      topics = topics .. ',' .. value
    else
      fields[n + 1], fields[n + 2] = name, value
      n = n + 2
    end
  end
  local gate = gate_before(id, head, more.gates)
  if gate then
    fields[n + 1], fields[n + 2] = 'filed', gate.key
    n = n + 2
  end
  fields[head.n - 2], fields[head.n] = data, topics
  redis.call('HSET', key, unpack(fields, 1, n))
  if more.unique_key then
    lock_for(id, more.unique_key, head)
  end
  place(id, head, topics, gate)
end

-- Whether one of the jobs was thrown away after it was claimed for this call (lib_late_pushes).
local function was_discarded(fence)
  local marks = {}
  for at = first_job, #ARGV - 3, 4 do
    marks[#marks + 1] = P .. ':fleet:discarded:' .. ARGV[at + 1]
  end
  for _, claimed_before in ipairs(redis.call('EXISTS', unpack(marks)) > 0 and redis.call('MGET', unpack(marks)) or {}) do
    if claimed_before and fence <= tonumber(claimed_before) then
      return true
    end
  end
end

if (#ARGV - first_job + 1) % 4 == 2 then
  local fence = tonumber(ARGV[#ARGV])
  if redis.call('GET', P .. ':fleet:ledger-epoch') ~= ARGV[#ARGV - 1] or clock() > fence or was_discarded(fence) then
    return {0, LATE, ''}
  end
end
for n = 1, n_heads do
  heads[n] = read_head(ARGV[3 * n], ARGV[3 * n + 1], ARGV[3 * n + 2])
end
for at = first_job, #ARGV - 3, 4 do
  keys[#keys + 1] = P .. ':job:' .. ARGV[at + 1]
end

local NOTHING, taken = {}, {}
local look_up = redis.call('EXISTS', unpack(keys)) > 0
local function consider(n, id, key, head, data, more)
  more = more == '' and NOTHING or cjson.decode(more)
  local holder = more.unique_key and live_holder(P .. ':fleet:unique:' .. more.unique_key)
  if taken[id] or (look_up and redis.call('EXISTS', key) == 1) then
    refused[#refused + 1], refused[#refused + 2], refused[#refused + 3] = n, EXISTS, id
  elseif holder then
    refused[#refused + 1], refused[#refused + 2], refused[#refused + 3] = n, HELD, holder
  else
    taken[id] = true
    accept(id, key, head, data, more)
  end
end

-- What was written when something went wrong must still get to its queue.
local function accept_all()
  for n = 1, #keys do
    local at = first_job + 4 * (n - 1)
    consider(n, ARGV[at + 1], keys[n], heads[tonumber(ARGV[at])], ARGV[at + 2], ARGV[at + 3])
  end
end

-- What its queue did not take, being another kind of key, was never accepted: sent again it must not be found.
local function undo(list)
  for at = list.command == 'ZADD' and 2 or 1, #list, list.command == 'ZADD' and 2 or 1 do
    take_back(P, list[at])
  end
end

local function push_all()
  local refusal
  for _, list in ipairs(lists) do
    if list.known then
      redis.pcall('SADD', P .. ':queues', P .. ':queue:' .. list.queue)
    end
    local length = #list > 0 and redis.pcall(list.command, list.key, unpack(list))
    if type(length) == 'table' then
      undo(list)
      refusal = length.err
    end
  end
  return refusal
end

return tell_together(function()
  local ok, failure = pcall(accept_all)
  local refusal = push_all()
  if library then
    library.send_lines(P, library.ms)
  end
  if refusal or not ok then
    error(refusal or failure, 0)
  end
  return refused
end)
