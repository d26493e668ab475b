-- Part of settle.lua: the end that most runs come to, written straight on. A first run of a batch has finished, its worker
-- has nothing to say but the result, and its job has no gates, ledger, workflow, dependents, checkpoint, cancellation or
-- error of a run before: of all that `write` asks and does, this is what is left. Any other run, and any doubt, is left to it.
local args, call, protected, plain_heads = ARGV, redis.call, redis.pcall, {}
local JOB, RESULTS, SHORT, TOLD = P .. ':job:', P .. ':results:', 5, ('t'):byte()

-- What the plain ends of a head have in common, or false where it has none.
local function plain_head(number)
  local shared = heads[number].__index
  if not shared.request or shared.keep <= 0 then
    return false
  end
  local kept = shared.keep < tonumber(EVENTS.kept) and texts[math.max(TOLD_KEPT, shared.keep)]
  kept_counts[P .. ':fleet:finished:' .. shared.type] = {'finished', shared.count}
  return {queue = shared.queue, type = shared.type, event = ' ' .. shared.event .. ' ', keep = texts[shared.keep],
    events_kept = kept, until_then = texts[seconds + shared.keep], ended = 0, worked = 0, batch = batch_held(shared.request),
    data = '","type":' .. type_as_json[shared.type] .. ',"attempt":1}',
    registry = collected_for('ZADD', P .. ':finished:' .. shared.queue),
    finished = collected_for('RPUSH', P .. ':fleet:finished:' .. shared.type)}
end

-- The head of a run that is said to have ended plainly; false for any other.
local function said_to_be_plain(number)
  local head = plain_heads[number]
  if head == nil then
    head = plain_head(number)
    plain_heads[number] = head
  end
  return head
end

-- The fields that `write` reads, as far as they are those of a plain end; nil where the run is none.
local function plain_fields(key, execution)
  local fields = protected('HMGET', key, 'status', 'execution', 'topics', 'enqueued_at', 'cancel_requested', 'error', 'gates',
    'checkpoint', 'ledger', 'workflow', 'dependency_ids')
  if fields[1] ~= 'started' or fields[2] ~= execution or fields[5] or (fields[6] or '') ~= '' or fields[7] or fields[8]
    or fields[9] or fields[10] or fields[11] then
    return nil
  end
  return fields
end

-- The first of many jobs that were enqueued at one time says how long their events last.
local last_enqueued, last_kept
local function events_last(enqueued)
  if enqueued ~= last_enqueued then
    last_enqueued = enqueued
    last_kept = (enqueued or ''):sub(1, TEN_MINUTES) == now:sub(1, TEN_MINUTES) and EVENTS.as_it_is or nil
  end
  return last_kept
end

local function write_plainly(at, head, key, fields, untold)
  local id, execution, value = args[at + 1], args[at + 2], args[at + 3]
  local results = RESULTS .. id
  if value == '' then
    call('XADD', results, 'MAXLEN', '10', '*', 'type', RESULT.finished, 'worker_name', worker, 'execution_id',
      execution, 'execution_started_at', args[at + 4], 'execution_ended_at', args[at + 5])
  else
    call('XADD', results, 'MAXLEN', '10', '*', 'type', RESULT.finished, 'worker_name', worker, 'execution_id',
      execution, 'execution_started_at', args[at + 4], 'execution_ended_at', args[at + 5], 'return_value', value)
  end
  call('HSET', key, 'status', 'finished', 'ended_at', now, 'settled', execution, 'final', '1')
  call('EXPIRE', key, head.keep)
  call('EXPIRE', results, head.keep)
  local registry, finished = head.registry, head.finished
  local n = #registry
  registry[n + 1], registry[n + 2] = head.until_then, id
  finished[#finished + 1] = id .. ':' .. execution
  local topics = fields[3]
  if topics and topics ~= '' then
    local data = '{"job_id":"' .. id .. head.data
    pcall(emit_end, P, topics, head.event, data, head.events_kept or events_last(fields[4]), untold)
  end
  head.ended, head.worked = head.ended + 1, head.worked + seconds_between(args[at + 4], args[at + 5])
end

-- Returns nil, having done nothing, where the run turns out to be another one.
local function settle_plainly(at, head)
  local execution, batch = args[at + 2], head.batch
  local place = tonumber(execution:sub(-4), 16) + 1
  local letter = batch[place]
  if any_dependent or letter ~= UNTOLD and letter ~= TOLD then
    return nil
  end
  local key = JOB .. args[at + 1]
  local fields = plain_fields(key, execution)
  if not fields then
    return nil
  end
  batch[place] = NOT_HELD
  local ok, why = pcall(write_plainly, at, head, key, fields, letter == UNTOLD)
  return ok and 'ok' or refuse(args[at + 1], head.queue, why)
end

local function count_plain_ends()
  for _, head in pairs(plain_heads) do
    if head and head.ended > 0 then
      count_many('finished', head.type, head.ended, head.worked)
    end
  end
end

-- What the runs are, and where each begins in ARGV; of plain ends the heads.
local function read_all()
  local runs, plain, places, sets, at, n = {}, {}, {}, {}, first_run, 0
  while at <= #ARGV do
    local head = said_to_be_plain(ARGV[at])
    n = n + 1
    places[n], plain[n], runs[n] = at, head, not head and read(at)
    sets[n] = JOB .. ARGV[at + 1] .. ':dependents'
    at = at + (heads[ARGV[at]].__index.request and SHORT or LONG) + 1
  end
  any_dependent = n > 0 and redis.call('EXISTS', unpack(sets)) > 0
  return runs, plain, places
end
