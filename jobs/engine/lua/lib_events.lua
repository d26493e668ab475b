-- Events: for each topic one entry "id name data" of its list (replay) and the same on the channel of that name (live).
-- `topics` are comma-separated, each with its tenant in front, as jobs.engine.events.stream_suffix makes them.
--include lib_event_clock
-- Messages are channel, text and one more text or false in turn.
local told_to_expire, together, messages, n_messages = {}, false, {}, 0
local function push_event(key, entry, before)
  if before then
    return redis.pcall('RPUSH', key, before, entry)
  end
  return redis.pcall('RPUSH', key, entry)
end

-- A stream of an earlier release is replaced.
local function push_anew(key, entry, before, problem)
  if redis.call('TYPE', key).ok ~= 'stream' then
    error(problem, 0)
  end
  redis.call('UNLINK', key)
  return push_event(key, entry, before)
end

-- The newest stay, and before them the id of the last one that went, so that a reader can tell what it missed.
local function trim_events(key)
  local gone = redis.call('LINDEX', key, -EVENTS.most - 1):match('^%d+%-%d+')
  redis.call('LTRIM', key, -EVENTS.most - 1, -1)
  if gone then
    redis.call('LSET', key, 0, gone)
  end
end

local function tell(channel, message, second)
  if together then
    messages[n_messages + 1], messages[n_messages + 2], messages[n_messages + 3] = channel, message, second or false
    n_messages = n_messages + 3
    return
  end
  redis.call('PUBLISH', channel, message)
  if second then
    redis.call('PUBLISH', channel, second)
  end
end

local function emit_on(key, entry, is_start, own_kept, before)
  local length = push_event(key, entry, before)
  if type(length) ~= 'number' then
    length = push_anew(key, entry, before, length)
  end
  local is_new, lives = length <= (before and 2 or 1), own_kept == EVENTS.as_it_is
  if is_new or not lives and (own_kept or not (is_start or told_to_expire[key])) then
    redis.call('EXPIRE', key, not lives and own_kept or EVENTS.kept)
    told_to_expire[key] = true
  end
  if length > EVENTS.most + EVENTS.slack then
    trim_events(key)
  end
  tell(key, before or entry, before and entry)
end

local function entry_of(prefix, name, data)
  local begin, digit = next_event_id(prefix)
  return begin .. digit .. name .. data
end

-- Returns the event's id. The list is kept for an hour from then on, that of the first topic for `own_kept` seconds if
-- given, or EVENTS.as_it_is for one that was begun a moment ago. A start keeps no list longer: it follows `job:queued` and comes before the end. A call tells a list but once.
-- `start` is the data of a `job:started` that was not told before and goes first.
local function emit(prefix, topics, name, data, own_kept, start)
  local before = start and entry_of(prefix, EVENTS.start, start)
  local begin, digit = next_event_id(prefix)
  local id = begin .. digit
  local entry, is_start = id .. ' ' .. name .. ' ' .. data, name == 'job:started'
  if not topics:find(',', 1, true) then
    emit_on(prefix .. ':events:' .. topics, entry, is_start, own_kept, before)
    return id
  end
  for topic in topics:gmatch('[^,]+') do
    emit_on(prefix .. ':events:' .. topic, entry, is_start, own_kept, before)
    own_kept = nil
  end
  return id
end

-- The same for the end of a run, whose name has a space on either side, with its start in front where that is untold.
local function emit_end(prefix, topics, name, data, own_kept, untold)
  if topics:find(',', 1, true) then
    emit(prefix, topics, name:sub(2, -2), data, own_kept, untold and data)
  else
    local before = untold and entry_of(prefix, EVENTS.start, data)
    emit_on(prefix .. ':events:' .. topics, entry_of(prefix, name, data), false, own_kept, before)
  end
end

-- The channels of the messages to which somebody listens; nil when all may be, and when Redis does not say.
local function listened_to()
  local channels, listening = {}, {}
  for n = 1, n_messages, 3 do
    local channel = messages[n]
    if listening[channel] == nil then
      listening[channel], channels[#channels + 1] = false, channel
    end
  end
  if redis.pcall('PUBSUB', 'NUMPAT') ~= 0 then
    return nil
  end
  for at = 1, #channels, EVENTS.slice do
    local counts = redis.pcall('PUBSUB', 'NUMSUB', unpack(channels, at, math.min(at + EVENTS.slice - 1, #channels)))
    if counts.err then
      return nil
    end
    for n = 1, #counts, 2 do
      listening[counts[n]] = counts[n + 1] > 0
    end
  end
  return listening
end

local function flush_events()
  local listening = n_messages > 6 and listened_to()
  for n = 1, n_messages, 3 do
    if not listening or listening[messages[n]] then
      redis.pcall('PUBLISH', messages[n], messages[n + 1])
      if messages[n + 2] then
        redis.pcall('PUBLISH', messages[n], messages[n + 2])
      end
    end
  end
  messages, n_messages = {}, 0
end

-- Do a script's work and then tell its events, even when it breaks off, only where somebody listens. Returns its answer.
local function tell_together(work)
  together = true
  local ok, answer = pcall(work)
  flush_events()
  if ok then
    return answer
  end
  return type(answer) == 'table' and answer or redis.error_reply(tostring(answer))
end
