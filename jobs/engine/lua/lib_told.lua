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
