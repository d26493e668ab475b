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
  for n, id in ipairs(ids) do
    sets[2 * n - 1], sets[2 * n] = dependents_of(id), dependencies_of(id)
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
    letters().count_exhausted(P, run.type, seconds)
  end
end

-- Keep the newest `count` of a type; so many at a time, so that one settle never pays for thousands.
local function trim(set, kind, count)
  local over = redis.call('ZCARD', set) - count
  if over < 1 then
    return
  end
  local ids = redis.call('ZRANGE', set, 0, math.min(over, TRIM_AT_ONCE) - 1)
  local look_up, gone = has_any_dependent(ids), {}
  for _, id in ipairs(ids) do
    local key = P .. ':job:' .. id
    local status, queue, topics = unpack(redis.call('HMGET', key, 'status', 'origin', 'topics'))
    if (not status or status == STATUS[kind]) and not (look_up and redis.call('EXISTS', dependents_of(id)) == 1) then
      local last = #gone
      gone[last + 1], gone[last + 2], gone[last + 3] = key, P .. ':results:' .. id, P .. ':fleet:log:' .. id
      later('ZREM', P .. ':' .. REGISTRY[kind] .. ':' .. (queue or ''), id)
      forget_events(id, topics)
      if kind == 'failed' then
        letters().exhume(P, id)
      end
    end
  end
  if #gone > 0 then
    redis.call('UNLINK', unpack(gone))
  end
  redis.call('ZREM', set, unpack(ids))
end

-- RQ keeps ten; of runs that raised each is kept.
local ATTEMPTS_KEPT = '100'

local function record_result(run)
  local key, kind = P .. ':results:' .. run.id, RESULT[run.flags:find('x', 1, true) and 'exceeded' or run.kind]
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
