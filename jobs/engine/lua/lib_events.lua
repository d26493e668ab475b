-- Events: for each topic one entry of its stream (replay) and one message on the channel of the same name (live).
-- `topics` are comma-separated, each with its tenant in front, as jobs.engine.events.stream_suffix makes them.
-- Returns the id of the last entry. A call of a script tells a stream but once how long it lives: its clock stands still.
local EVENTS_KEPT, told_to_expire = '3600', {}
local function emit(prefix, topics, name, data)
  local id
  local message = ' ' .. name .. ' ' .. data
  for topic in string.gmatch(topics, '[^,]+') do
    local key = prefix .. ':events:' .. topic
    id = redis.call('XADD', key, 'MAXLEN', '~', '1000', '*', 'event', name, 'data', data)
    if not told_to_expire[key] then
      redis.call('EXPIRE', key, EVENTS_KEPT)
      told_to_expire[key] = true
    end
    redis.call('PUBLISH', key, id .. message)
  end
  return id
end
