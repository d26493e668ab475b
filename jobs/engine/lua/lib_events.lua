-- Events: for each topic one entry of its stream (replay) and one message on the channel of the same name (live).
-- `topics` are comma-separated, each with its tenant in front, as jobs.engine.events.qualify makes them.
-- Returns the id of the last entry.
local function emit(prefix, topics, name, data)
  local id
  for topic in string.gmatch(topics, '[^,]+') do
    local key = prefix .. ':events:' .. topic
    id = redis.call('XADD', key, 'MAXLEN', '~', 1000, '*', 'event', name, 'data', data)
    redis.call('EXPIRE', key, 3600)
    redis.call('PUBLISH', key, id .. ' ' .. name .. ' ' .. data)
  end
  return id
end
