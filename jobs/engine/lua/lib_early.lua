-- Part of lease.lua: requests that were sent ahead, behind a BLMOVE, and whether a request still fits.
-- What a worker was given last stands in its memory: its request and, behind it, the jobs. A worker that runs nothing and
-- was given nothing has its generation there instead.
local early, generation, known = ARGV[4] == '', ARGV[13], ARGV[14]
local last_reply = redis.call('GET', memory_key) or '[""]'
local last_request = last_reply:match('^%["([^"]*)"')

-- An early request tells of a worker that runs nothing; any other of one that knows of all that early ones were given.
local function is_outdated()
  if early then
    return last_request ~= generation
  end
  local fits = last_request == '' or last_request == request or last_request == known or last_request == generation
  return known ~= '' and not fits
end

-- After that the early requests of this generation fit again.
local function remember_idleness()
  redis.call('SET', memory_key, '[' .. cjson.encode(generation) .. ']', 'EX', 120)
end

if is_outdated() then
  return {0, last_request, {}, 0, 0, 0, ''}
end
now = early and rfc3339(seconds, time[2]) or now
