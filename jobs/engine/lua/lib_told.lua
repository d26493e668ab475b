-- Part of settle.lua: what is told of an outcome, to the ledger and as an event.
local STATE = {finished = 'finished', failed = 'failed', cancelled = 'cancelled', stopped = 'cancelled'}
local function tell_outcome(run, attempts)
  local state = STATE[run.kind] or (run.kind == 'retry' and run.wait > 0 and 'scheduled') or 'queued'
  local given_back = run.kind == 'released' or run.kind == 'lost'
  attempts = (tonumber(attempts or '0') or 0) - (given_back and 1 or 0)
  tell_ledger(run.id, run.type, state, attempts, worker, run.begun, STATE[run.kind] and now or '', run.reason)
end

local type_as_json = setmetatable({}, {__index = function(known, name)
  known[name] = cjson.encode(name)
  return known[name]
end})

local function event_data(id, job_type, attempt)
  local number = string.format('%d', tonumber(attempt or '') or 0)
  return '{"job_id":"' .. id .. '","type":' .. type_as_json[job_type] .. ',"attempt":' .. number .. '}'
end

-- The event of an outcome, before it that of the start where that is untold; kept as long as the job or, if the job is
-- young, as its earlier events are.
local function announce(run, head)
  local brief = STATUS[run.kind] and run.keep >= 0 and run.keep < tonumber(EVENTS.kept)
  local kept = brief and texts[math.max(TOLD_KEPT, run.keep)]
  if not kept and STATUS[run.kind] and head[11] and head[11]:sub(1, TEN_MINUTES) == now:sub(1, TEN_MINUTES) then
    kept = EVENTS.as_it_is
  end
  local data = not (run.data and not run.untold) and event_data(run.id, run.type, head[8])
  pcall(emit, P, head[3], run.event, run.data or data, kept or nil, run.untold and data or nil)
end
