-- What has the name of a key of ours and was made another kind of key: renamed and kept for a week, so that it is in nobody's way.
local STRANGE_KEPT = 7 * 86400

local function put_strange_aside(key)
  local _, after = key:find(':fleet:', 1, true)
  local aside = key:sub(1, after) .. 'strange:' .. key:sub(after + 1)
  redis.call('RENAME', key, aside)
  redis.call('EXPIRE', aside, STRANGE_KEPT)
end
