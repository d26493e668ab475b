-- What running jobs tell: progress and output, each only while its lease is held. No allow-oom: a full Redis drops it.
-- ARGV: prefix, seconds to keep a job's output, how many lines of it, then 6 a report: kind (progress or output), id,
--       execution ('' is not checked against a lease), type, attempt, value (progress: a JSON object; output: JSON objects,
--       one a line). Returns how many were written.
--include lib_events
--include lib_leases
--include lib_starts
local P, keep, most, written = ARGV[1], ARGV[2], ARGV[3], 0

local function tell(topics, name, report, rest)
  local head = '{"job_id":"' .. report.id .. '","type":' .. cjson.encode(report.type) .. ',"attempt":' .. report.attempt
  emit(P, topics, name, head .. ',' .. rest)
end

local function progress(report)
  redis.call('HSET', P .. ':job:' .. report.id, 'progress', report.value)
  if report.topics ~= '' then
    tell(report.topics, 'job:progress', report, report.value:sub(2))
  end
end

-- The job's own topic; a job of a plain RQ client names none, and belongs to no tenant.
local function own_topic(report)
  local wanted = ':job:' .. report.id
  for topic in report.topics:gmatch('[^,]+') do
    if topic:sub(-#wanted) == wanted then
      return topic
    end
  end
  return wanted
end

local function output(report)
  local key, told = P .. ':fleet:log:' .. report.id, {}
  for line in report.value:gmatch('[^\n]+') do
    local entry = redis.call('XADD', key, 'MAXLEN', '~', most, '*', 'line', line)
    told[#told + 1] = '{"id":"' .. entry .. '",' .. line:sub(2)
  end
  redis.call('EXPIRE', key, keep)
  tell(own_topic(report), 'job:output', report, '"lines":[' .. table.concat(told, ',') .. ']}')
end

-- The topics of a run that may tell something, or false; asked once a call, as a run often tells several things at once.
local asked = {}
local function topics_of(report)
  local run = report.id .. ':' .. report.execution
  if asked[run] == nil then
    local held = report.execution == '' or redis.call('ZSCORE', P .. ':fleet:leases', run) or letter_of(P, report.id, report.execution)
    if held == 'u' then
      tell_start(P, report.id, report.execution)
    end
    local head = held and redis.call('HMGET', P .. ':job:' .. report.id, 'status', 'topics')
    asked[run] = head and head[1] and (head[2] or '') or false
  end
  return asked[run]
end

local function write(report)
  report.topics = topics_of(report)
  if not report.topics then
    return
  end
  if report.kind == 'progress' then
    progress(report)
  else
    output(report)
  end
  written = written + 1
end

return tell_together(function()
  for at = 4, #ARGV, 6 do
    pcall(write, {kind = ARGV[at], id = ARGV[at + 1], execution = ARGV[at + 2], type = ARGV[at + 3],
      attempt = ARGV[at + 4], value = ARGV[at + 5]})
  end
  return written
end)
