#!lua flags=allow-oom
-- Hand out jobs to a worker: what was filed for lanes with room first, then its inbox, then the queues in the given order.
-- Each job gets its lease and its status in this one step, so that no popped job is ever owned by nobody. RQ's execution
-- records are written by the first renewal. Repeating a request id gives the same answer.
-- Room is counted in 32nds of a slot: a job takes 32 of them, one of a type that the worker knows to be tiny
-- as few as the worker says.
-- ARGV: prefix, worker, request id, now (RFC 3339; '' in a request sent ahead), lease (ms), RQ horizon (s), room, 1 if the worker runs nothing,
--       default lane, lanes with their room (JSON object), tiny types (JSON object, type to what such a job takes), what the release declares of
--       gates (JSON object: `counts` of limits by name, `windows` of lanes, KEY=COUNT ...) or '',
--       generation of the worker's requests sent ahead or '', the last request whose jobs the worker knows or '',
--       for each job the queue to look at first (a character each, chr(48 + number)), the queues' names.
-- Returns {server time (ms), blocked queues (with commas), jobs, 1 when it stopped early, 1 when the worker must take no
--          more until it runs nothing, for a job that has to run alone, 2 when it is given that job, when (ms) the next rate
--          window opens before which somebody waits or 0, paused lanes (with commas), the request, heads}, a job being {hash fields, id, execution, queue,
--          lane, 1 if it is leased in a batch, then more hash fields and times for callbacks where there are any}, or a text
--          (lib_fields).
--          A request sent ahead for which there is one job in all may get one text instead (lib_one_job).
--          A request that does not fit any more gets {0, the request that was given jobs last, {}, ...}.
-- Of tiny types what this call hands out is one batch, with one lease; what else a start writes waits (lib_leases).
local P, worker, request, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_ms, horizon, room, idle = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
local default_lane, free, tiny, picks = ARGV[9], cjson.decode(ARGV[10]), cjson.decode(ARGV[11]), ARGV[15]
local queues = {unpack(ARGV, 16)}
local declared = ARGV[12] == '' and {counts = {}, windows = {}} or cjson.decode(ARGV[12])
local SLOT, ALONE, DEATHS_BEFORE_ALONE, CLAIM_MS = 32, '!alone', 2, 3000
local SCAN_LIMIT = 200 + room
local time = redis.call('TIME')
local seconds, ms = tonumber(time[1]), tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Redis writes numbers out slowly: what is sent with each job is a text.
local lease_until, wip_until = string.format('%d', ms + lease_ms), string.format('%d', seconds + horizon)
local memory_key, leases, batches = P .. ':fleet:lease-reply:' .. worker, P .. ':fleet:leases', P .. ':fleet:batches'
--include lib_one_job
--include lib_batch
--include lib_breakers
--include lib_events
--include lib_execution
--include lib_foreign
--include lib_pauses
--include lib_readers
--include lib_early
local scanned, filed, jobs, memory, must_drain, alone = 0, 0, {}, {cjson.encode(request)}, false, false
local letters, has_batch, places_taken = {}, false, 0
local puts_aside, overflowed, gates_known, nothing_special = false, {}, nil, false

--include lib_gates_met

-- Whether workers died while they ran this job.
local function is_suspect(fields)
  return fields.worker_deaths and (tonumber(fields.worker_deaths) or 0) >= DEATHS_BEFORE_ALONE
end

--include lib_fields
--include lib_requests

local function lane_of(name)
  return name and name ~= '' and free[name] ~= nil and name or default_lane
end

-- Put a job aside; one that lies there already stays in its place. One that has to run alone leaves its lane's list, in
-- which nobody would get past it. In this call nothing else of the lane is handed out: many small jobs would otherwise
-- take what room there is again and again, and one that needs more would wait for ever.
local function file(id, queue, lane, is_filed)
  if lane ~= ALONE then
    free[lane] = 0
  end
  if is_filed == lane then
    return 'stays'
  end
  local line = queue .. ':' .. lane
  later('RPUSH', P .. ':fleet:overflow:' .. line, id)
  if not overflowed[line] then
    later('SADD', P .. ':fleet:overflowed:' .. queue, lane)
    overflowed[line] = true
  end
  filed, puts_aside = filed + 1, true
end

local function leave_dead_letters(id)
--include lib_dead_letters
  exhume(P, id)
end

-- A job that was run again by RQ's own means after its end: its attempts start anew.
local function forget_last_end(id, key, fields)
  if fields[14] == '1' then
    leave_dead_letters(id)
    redis.call('HDEL', key, 'final', 'attempts', 'deaths', 'worker_deaths', 'progress', 'exc_info', 'alone')
    redis.call('PERSIST', key)
    fields[6], fields.worker_deaths = '0', false
  end
end

local as_json = setmetatable({}, {__index = function(known, name)
  known[name] = cjson.encode(name)
  return known[name]
end})

-- A run with a lease of its own.
local function show(id, queue, fields, attempt, member)
  if fields.gates then
    gates().enter(P, id, member, queue, fields.gates, ms)
  end
  later('ZADD', leases, lease_until, member)
  later('ZADD', P .. ':wip:' .. queue, wip_until, member)
  read_rest(P .. ':job:' .. id, fields)
  if fields[16] and fields[16] ~= '' then
    local data = '{"type":' .. as_json[fields[2] or ''] .. ',"attempt":' .. attempt .. ',"job_id":"' .. id .. '"}'
    pcall(emit, P, fields[16], 'job:started', data)
  end
end

local function begin(id, queue, lane, key, fields)
  local number = #jobs + 1
  local place = as_place(places_taken + number - 1)
  local execution = request .. place
  local attempt = fields[6] and string.format('%d', (tonumber(fields[6]) or 0) + 1) or '1'
  fields[6] = attempt
  local taken = tiny[fields[2]] or SLOT
  local is_batched = taken < SLOT and not (fields.gates or fields.deaths or fields.worker_deaths)
  if is_batched then
    redis.call('HSET', key, 'status', 'started', 'started_at', now, 'worker_name', worker, 'attempts', attempt,
      'execution', execution)
  else
    redis.call('HSET', key, 'status', 'started', 'started_at', now, 'last_heartbeat', now, 'worker_name', worker,
      'attempts', attempt, 'execution', execution)
  end
  if (fields.ended_at or '') ~= '' then
    redis.call('HSET', key, 'ended_at', '')
  end
  if fields[15] or fields.given_back then
    redis.call('HDEL', key, 'filed', 'given_back')
  end
  if fields[13] then
    tell_ledger(id, fields[2], 'started', attempt, worker, now)
  end
  if is_batched then
    has_batch = true
  else
    show(id, queue, fields, attempt, id .. ':' .. execution)
  end
  room, free[lane] = room - taken, free[lane] - taken
  letters[number] = is_batched and 'u' or '-'
  jobs[number] = is_batched and told_briefly(fields, id, place, queue, lane) or told(key, fields, id, execution, queue, lane, is_batched)
  memory[number + 1] = '["' .. id .. '","' .. execution .. '",' .. as_json[queue] .. ',' .. as_json[lane] .. ']'
end

-- A job that killed workers before (so it seems) runs alone, where it can harm nobody and is the only one to blame.
local function begin_alone(id, queue, lane, key, fields, is_filed)
  if not idle or #jobs > 0 then
    must_drain = true
    return file(id, queue, ALONE, is_filed)
  end
  redis.call('HSET', key, 'alone', '1')
  begin(id, queue, lane, key, fields)
  alone = true
end

--include lib_passed_over

-- Look at a popped id: hand it out, file it, drop it or set it aside.
-- Returns 'full' when the worker has no room for it, 'stays' when it has to stay where it was filed.
local function consider(id, queue, is_filed)
  local key = P .. ':job:' .. id
  scanned = scanned + 1
  if not is_id(id) then
    return quarantine(P, id, queue, 'the id is none that RQ allows', seconds)
  end
  if puts_aside and put_aside_like_others(id, queue, key, is_filed) then
    return
  end
  puts_aside = false
  local fields = read_fields(key)
  if fields.err then
    return quarantine(P, id, queue, 'the job is not a hash', seconds)
  end
  if fields[11] ~= 'queued' then
    return pass_over(id, queue, key, fields[11])
  end
  if not fields[1] then
    return quarantine(P, id, queue, 'the job has no data', seconds)
  end
  if fields.execution and is_leased(P, id, fields.execution) then
    return wait_for_last_run(id, queue, key, fields.execution)
  end
  local lane = lane_of(fields[12])
  local needed = tiny[fields[2]] or SLOT
  if free[lane] < needed then
    return file(id, queue, lane, is_filed)
  end
  if room < needed then
    return 'full'
  end
  if (fields[7] or declared.windows[lane]) and is_held_back(id, queue, lane, fields) then
    return
  end
  forget_last_end(id, key, fields)
  if is_suspect(fields) then
    return begin_alone(id, queue, lane, key, fields, is_filed)
  end
  begin(id, queue, lane, key, fields)
end

-- Where a queue's jobs lie, in the order in which they are read.
local function reader_of(queue)
  local index = P .. ':fleet:overflowed:' .. queue
  local sources = {}
  for _, lane in ipairs(nothing_special and {} or redis.call('SMEMBERS', index)) do
    must_drain = must_drain or (lane == ALONE and not idle)
    if lane == ALONE and idle or lane ~= ALONE and free[lane_of(lane)] > 0 then
      local key = P .. ':fleet:overflow:' .. queue .. ':' .. lane
      table.insert(sources, lane == ALONE and 1 or #sources + 1, {key = key, filed = lane, index = index})
    end
  end
  sources[#sources + 1] = {key = P .. ':fleet:inbox:' .. worker .. ':' .. queue}
  sources[#sources + 1] = {key = P .. ':queue:' .. queue}
  return new_reader(queue, sources, math.max(1, math.ceil(room / SLOT)))
end

-- The next job of that queue; false when there is none or no room for it.
local function take_from(reader)
  local before = #jobs
  while #jobs == before and scanned < SCAN_LIMIT and room > 0 do
    local id = next_id(reader)
    if not id then
      return false
    end
    local ok, word = pcall(consider, id, reader.queue, reader.sources[reader.at].filed)
    if not ok then
      pcall(quarantine, P, id, reader.queue, 'it could not be leased: ' .. tostring(word), seconds)
    elseif word == 'full' then
      reader.next, room = reader.next - 1, 0
    elseif word == 'stays' then
      reader.next = reader.next - 1
      leave_source(reader)
    end
  end
  return #jobs > before
end

--include lib_sharing_out

return tell_together(function()
  if remembered() then
    return {ms, '', jobs, 0, alone and 2 or 0, 0, '', request, told_heads}
  end
  if has_windows then
    gates().admit_due(P, gates().windows, ms)
  end
  local blocked_queues, paused_lanes, next_trial = look_for_the_special()
  local readers = readers_of(blocked_queues)
  local blocked = names_of(readers)
  begin_with_alone(readers)
  hand_out(readers)
  begin_probes(P, free, ms)
  for _, reader in pairs(readers) do
    put_back(reader)
  end
  remember()
  if gates_known then
    gates_known.send_lines(P, ms)
  end
  flush()
  send_to_ledger(P)
  if room < 1 or alone or #blocked > 0 then
    empty_inboxes()
  end
  if filed > 0 then
    redis.call('PUBLISH', P .. ':fleet:filed', filed)
  end
  return {ms, table.concat(blocked, ','), jobs, scanned >= SCAN_LIMIT and 1 or 0, alone and 2 or drains(),
    next_look(has_windows and gates().next_due(P, gates().windows, ms) or 0, next_trial), table.concat(paused_lanes, ','), request, told_heads}
end)
