-- Part of settle.lua: what stays of runs that have ended, for how long, and what goes.
-- The events of a job that is dropped go soon too, but not before somebody who lost the connection has come back.
local function forget_events(id, topics)
  local topic, own = (topics or ''):match('^[^,]+') or '', ':job:' .. id
  if topic:sub(-#own) == own then
    redis.call('EXPIRE', P .. ':events:' .. topic, TOLD_KEPT, 'LT')
  end
end

local function dependents_of(id)
  return P .. ':job:' .. id .. ':dependents'
end

local function dependencies_of(id)
  return P .. ':job::' .. id .. ':dependencies'
end

local function has_any_dependent(ids)
  local sets = {}
  for n = 1, #ids do
    sets[n] = P .. ':job:' .. ids[n] .. ':dependents'
  end
  return #sets > 0 and redis.call('EXISTS', unpack(sets)) > 0
end

local letters_known
local function letters_library()
--include lib_dead_letters
  return {bury = bury, exhume = exhume, count_exhausted = count_exhausted}
end

-- Most calls have no failed job in them.
local function letters()
  letters_known = letters_known or letters_library()
  return letters_known
end

local buried = 0
local function become_letter(run)
  if run.keep ~= 0 then
    -- Each has a time of its own, so that they have an order.
    letters().bury(P, run.id, run.type, run.letter, string.format('%.6f', seconds + fraction + buried / 1000000))
    buried = buried + 1
  end
  if run.letter.spent then
    letters().count_exhausted(P, run.id, run.type, seconds)
  end
end

local function release_unique(id, unique)
  if unique ~= '' then
    local lock = P .. ':fleet:unique:' .. unique
    if redis.call('GET', lock) == id then
      redis.call('DEL', lock)
    end
  end
end

-- What ended counts towards how many of its type are kept: a sorted set of ids, or of what finished, which is most,
-- a list of `ID:EXECUTION`, which costs less.
local function count_towards(run)
  if run.kind == 'finished' then
    local list = P .. ':fleet:finished:' .. run.type
    later('RPUSH', list, run.id .. ':' .. run.execution)
    kept_counts[list] = {run.kind, run.count}
  else
    local set = P .. ':fleet:ended:' .. run.kind .. ':' .. run.type
    later('ZADD', set, ended_at, run.id)
    kept_counts[set] = {run.kind, run.count}
  end
end

-- Take the oldest, as far as there are more than `count`; so many at a time, so that one settle never pays for thousands.
-- Of what finished also the executions.
local function take_oldest(key, kind, count)
  if kind == 'finished' then
    local ids, executions, over = {}, {}, redis.call('LLEN', key) - count
    for n, entry in ipairs(over > 0 and redis.call('LPOP', key, math.min(over, TRIM_AT_ONCE)) or {}) do
      ids[n], executions[n] = entry:match('^(.*):(.*)$')
    end
    return ids, executions
  end
  local over = redis.call('ZCARD', key) - count
  local ids = over > 0 and redis.call('ZRANGE', key, 0, math.min(over, TRIM_AT_ONCE) - 1) or {}
  if #ids > 0 then
    redis.call('ZREM', key, unpack(ids))
  end
  return ids, {}
end

-- A durable job's hash stays for a moment more: somebody who was stopped may be about to push it once again (see
-- ledger/fences.py).
local LATE_PUSHES = 12

-- Keep the newest `count` of a type. One that ran again meanwhile is counted there.
local function trim(list, kind, count)
  local ids, executions = take_oldest(list, kind, count)
  local look_up, gone = has_any_dependent(ids), {}
  for n, id in ipairs(ids) do
    local key = P .. ':job:' .. id
    local status, queue, topics, settled, durable = unpack(redis.call('HMGET', key, 'status', 'origin', 'topics', 'settled',
      'ledger'))
    local is_same = status == STATUS[kind] and settled == (executions[n] or settled)
    if (not status or is_same) and not (look_up and redis.call('EXISTS', dependents_of(id)) == 1) then
      local last = #gone
      gone[last + 1], gone[last + 2], gone[last + 3] = P .. ':results:' .. id, P .. ':fleet:log:' .. id, not durable and key or nil
      if durable then
        redis.call('EXPIRE', key, LATE_PUSHES)
      end
      later('ZREM', P .. ':' .. REGISTRY[kind] .. ':' .. (queue or ''), id)
      -- What it did once goes along, unless the ledger's row may be run again; one that finished has nothing left.
      if kind ~= 'finished' and status and not durable then
        gone[#gone + 1] = P .. ':fleet:steps:' .. id
      end
      forget_events(id, topics)
      if kind == 'failed' then
        letters().exhume(P, id)
      end
    end
  end
  if #gone > 0 then
    redis.call('UNLINK', unpack(gone))
  end
end

-- RQ keeps ten; of runs that raised each is kept.
local ATTEMPTS_KEPT = '100'

local function record_result(run)
  local key, kind = P .. ':results:' .. run.id, RESULT[not run.is_plain and run.flags:find('x', 1, true) and 'exceeded' or run.kind]
  if run.exc_b64 == '' and run.value ~= '' then
    redis.call('XADD', key, 'MAXLEN', '10', '*', 'type', kind, 'worker_name', worker, 'execution_id', run.execution,
      'execution_started_at', run.begun, 'execution_ended_at', run.ended, 'return_value', run.value)
    return
  end
  local fields = {'type', kind, 'worker_name', worker, 'execution_id', run.execution, 'execution_started_at', run.begun,
    'execution_ended_at', run.ended}
  if run.exc_b64 ~= '' then
    fields[#fields + 1] = 'exc_string'
    fields[#fields + 1] = run.exc_b64
  end
  if run.value ~= '' then
    fields[#fields + 1] = 'return_value'
    fields[#fields + 1] = run.value
  end
  local about = run.letter
  if about then
    for _, name in ipairs({'attempt', 'error', 'text', 'fingerprint'}) do
      fields[#fields + 1] = name
      fields[#fields + 1] = about[name]
    end
  end
  redis.call('XADD', key, 'MAXLEN', about and ATTEMPTS_KEPT or '10', '*', unpack(fields))
end
