-- Why a job waits: read in one step from where it really lies, the reasons that hold everything up first. Changes nothing.
-- ARGV: prefix, id, rate windows (KEY=COUNT ...). Returns a JSON object with `reason` and what belongs to it, or '' when the
-- job does not wait. Searches of lists are bounded: `at_least` says that there may be more.
--include lib_gates
local P, id, windows = ARGV[1], ARGV[2], gates_of(ARGV[3])
local key, LONGEST_LOOK, LONGEST_OVERFLOW, MOST = P .. ':job:' .. id, 10000, 200000, 20
local time = redis.call('TIME')
local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local head = redis.pcall('HMGET', key, 'status', 'origin', 'filed', 'gates', 'lane', 'tenant', 'attempts', 'quarantined')
if head.err or not head[1] or head[8] then
  return ''
end
local status, queue, filed, lane, tenant = head[1], head[2] or 'default', head[3], head[5], head[6]

-- How many stand before it in a list; nil when it is not there.
local function place_in(list, more, longest)
  local place = redis.call('LPOS', list, id, 'MAXLEN', longest or LONGEST_LOOK)
  if place then
    return {ahead = place + (more or 0)}
  end
  return redis.call('LLEN', list) > (longest or LONGEST_LOOK) and {ahead = LONGEST_LOOK, at_least = true} or nil
end

local function with(reason, facts)
  facts = facts or {}
  facts.reason = reason
  return facts
end

-- Jobs by which it is kept: named when they are the same tenant's, counted when not.
local function told(ids, facts)
  facts.jobs, facts.others = {}, 0
  for _, other in ipairs(ids) do
    local owner = redis.pcall('HGET', P .. ':job:' .. other, 'tenant')
    if #facts.jobs < MOST and not (type(owner) == 'table' and owner.err) and (owner or '') == (tenant or '') then
      facts.jobs[#facts.jobs + 1] = other
    else
      facts.others = facts.others + 1
    end
  end
  if #facts.jobs == 0 then
    facts.jobs = nil
  end
  return facts
end

-- Who takes jobs from its queue: living workers of the fleet, paused ones apart, and RQ's own.
local function listeners()
  local names, working, paused = {}, 0, nil
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', P .. ':fleet:workers', '(' .. ms, '+inf')) do
    for _, name in ipairs(cjson.decode(redis.call('HGET', P .. ':fleet:worker-queues', worker) or '[]')) do
      if name == queue and redis.call('SISMEMBER', P .. ':fleet:paused', 'worker:' .. worker) == 1 then
        paused = paused or worker
      elseif name == queue then
        names[#names + 1] = worker
      end
    end
  end
  working = #names
  for _, worker in ipairs(redis.call('SMEMBERS', P .. ':workers:' .. queue)) do
    local name = worker:sub(#P + #':worker:' + 1)
    if redis.call('HEXISTS', P .. ':fleet:worker-queues', name) == 0 then
      working = working + redis.call('EXISTS', worker)
    end
  end
  return names, working, paused
end

local function held_by(gate)
  local ids = {}
  for _, member in ipairs(redis.call('ZRANGE', P .. ':fleet:held:' .. gate, 0, 1000)) do
    ids[#ids + 1] = member:match('^(.*):')
  end
  return told(ids, place_in(P .. ':fleet:waiting:' .. queue .. ':' .. gate) or {})
end

local function window_of(gate)
  local facts = place_in(P .. ':fleet:waiting:' .. queue .. ':' .. gate) or {}
  for _, window in ipairs(windows) do
    local oldest = window.key == gate and redis.call('LINDEX', P .. ':fleet:' .. gate, window.count - 1)
    facts.until_ms = oldest and oldest + gate:match(':(%d+)$') + 1 or facts.until_ms
  end
  facts.what = 'lane:' .. gate:match('^window:(.*):%d+$')
  return facts
end

-- Where it was put aside.
local function filed_under(place)
  local kind = place:match('^(%l+):')
  if kind == 'turn' then
    local before = redis.call('ZCARD', P .. ':fleet:admitted:' .. queue .. ':' .. place)
    return with('turn', place_in(P .. ':fleet:waiting:' .. queue .. ':' .. place, before))
  elseif kind == 'window' then
    return with('rate_window', window_of(place))
  end
  local facts = held_by(place)
  facts.what = place
  return with('limit', facts)
end

-- What was put aside for a full lane says nothing of it: that is searched for far, the front of RQ's list having been.
local function put_aside(found)
  for _, name in ipairs({'!alone', lane or 'default', 'default'}) do
    local facts = place_in(P .. ':fleet:overflow:' .. queue .. ':' .. name, 0, LONGEST_OVERFLOW)
    if facts then
      facts.what = 'lane:' .. name
      return with(name == '!alone' and 'runs_alone' or 'lane_full', facts)
    end
  end
  return found and with('queue', found) or with('nowhere')
end

local function in_line(names)
  for _, worker in ipairs(names) do
    if redis.call('LPOS', P .. ':fleet:inbox:' .. worker .. ':' .. queue, id) then
      return with('queue', {ahead = 0})
    end
  end
  local found = place_in(P .. ':queue:' .. queue)
  if found and not found.at_least then
    return with('queue', found)
  end
  return put_aside(found)
end

-- The breaker that keeps its lane shut longest: one that is open, or whose probe has not told yet.
local function breaker()
  local shut = nil
  local all = redis.call('ZRANGE', P .. ':fleet:breakers', 0, -1, 'WITHSCORES')
  for n = 1, #all, 2 do
    if all[n]:match('^(.*)/') == (lane or 'default') and tonumber(all[n + 1]) > ms then
      shut = {what = all[n], until_ms = tonumber(all[n + 1])}
    end
  end
  return shut
end

local function why_queued()
  local names, working, paused = listeners()
  for _, what in ipairs({'queue:' .. queue, 'lane:' .. (lane or 'default')}) do
    if redis.call('SISMEMBER', P .. ':fleet:paused', what) == 1 then
      return with('paused', {what = what})
    end
  end
  if redis.call('EXISTS', P .. ':suspended') == 1 then
    return with('suspended')
  elseif working == 0 then
    return with(paused and 'paused' or 'no_worker', {what = paused and 'worker:' .. paused or 'queue:' .. queue})
  end
  local shut = breaker()
  if shut then
    return with('breaker_open', shut)
  end
  return filed and filed ~= '' and filed_under(filed) or in_line(names)
end

local function why()
  if status == 'scheduled' then
    local due = redis.call('ZSCORE', P .. ':scheduled:' .. queue, id)
    local again = (tonumber(head[7] or '') or 0) > 0
    return with(again and 'retry' or 'scheduled', {until_ms = due and math.floor(due * 1000)})
  elseif status == 'deferred' or status == 'created' then
    return with('dependencies', told(redis.call('SMEMBERS', P .. ':job::' .. id .. ':dependencies'), {}))
  elseif status == 'rate_limited' then
    return with('rq_rate_limit', {what = redis.call('HGET', key, 'rate_limit_key') or nil})
  end
  return (status == 'queued' or status == 'ready_to_enqueue') and why_queued() or nil
end

local reason = why()
return reason and cjson.encode(reason) or ''
