-- Part of settle.lua: the end that most runs come to, written straight on. A run of a batch has finished, its worker has
-- nothing to say but the result, and its job has no gates, ledger, workflow, dependents, checkpoint, cancellation or error
-- of a run before: of all that `write` asks and does, this is what is left. Any other run, and any doubt, is left to it.
local plain_heads, args, call, protected = {}, ARGV, redis.call, redis.pcall

-- What the plain ends of a head have in common, or false where it has none.
local function plain_head(number)
  local shared = heads[number].__index
  if shared.kind ~= 'finished' or shared.type == '' or shared.keep <= 0 then
    return false
  end
  local kept = shared.keep < tonumber(EVENTS.kept) and texts[math.max(TOLD_KEPT, shared.keep)]
  kept_counts[P .. ':fleet:finished:' .. shared.type] = {'finished', shared.count}
  return {queue = shared.queue, type = shared.type, event = shared.event, keep = texts[shared.keep], events_kept = kept,
    until_then = texts[seconds + shared.keep], ended = 0, worked = 0,
    registry = collected_for('ZADD', P .. ':finished:' .. shared.queue),
    finished = collected_for('RPUSH', P .. ':fleet:finished:' .. shared.type)}
end

local function is_said_to_be_plain(at)
  local number = args[at]
  if plain_heads[number] == nil then
    plain_heads[number] = plain_head(number)
  end
  return plain_heads[number] and args[at + 6] == 'b' and args[at + 7] == '' and args[at + 8] == ''
end

-- The fields that `write` reads, as far as they are those of a plain end; nil where the run is none.
local function plain_fields(key, execution)
  local fields = protected('HMGET', key, 'status', 'execution', 'topics', 'attempts', 'enqueued_at', 'cancel_requested',
    'error', 'gates', 'checkpoint', 'ledger', 'workflow', 'dependency_ids')
  if fields[1] ~= 'started' or fields[2] ~= execution or fields[6] or (fields[7] or '') ~= '' or fields[8] or fields[9]
    or fields[10] or fields[11] or fields[12] then
    return nil
  end
  return fields
end

local function write_plainly(at, head, key, fields, untold)
  local id, execution, value = args[at + 1], args[at + 2], args[at + 3]
  local results = P .. ':results:' .. id
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
  if (fields[3] or '') ~= '' then
    local kept = head.events_kept
    if not kept and (fields[5] or ''):sub(1, TEN_MINUTES) == now:sub(1, TEN_MINUTES) then
      kept = EVENTS.as_it_is
    end
    local data = event_data(id, head.type, fields[4])
    pcall(emit, P, fields[3], head.event, data, kept or nil, untold and data or nil)
  end
  head.ended, head.worked = head.ended + 1, head.worked + seconds_between(args[at + 4], args[at + 5])
end

-- Returns nil, having done nothing, where the run turns out to be another one.
local function settle_plainly(at)
  local batch, place = batch_of(args[at + 2])
  local letter = batch[place] or NOT_HELD
  if letter == NOT_HELD or any_dependent then
    return nil
  end
  local head, key = plain_heads[args[at]], P .. ':job:' .. args[at + 1]
  local fields = plain_fields(key, args[at + 2])
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
