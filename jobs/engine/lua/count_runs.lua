#!lua flags=allow-oom
-- Add what a worker has counted to the fleet's statistics: once for each number of the worker's, however often it is sent.
-- ARGV: prefix, worker, number, steps (JSON list of {step in s, kept for s}), then in turn: field (SCOPE WHAT), by how much.
-- Returns 1 when it was added, 0 when it had been before.
local P, worker, number = ARGV[1], ARGV[2], ARGV[3]
local seconds, MOST_FIELDS, HOUR = tonumber(redis.call('TIME')[1]), 5000, 3600
local mark = P .. ':fleet:statistics:counted:' .. worker
if redis.call('GET', mark) == number then
  return 0
end
redis.call('SET', mark, number, 'EX', HOUR)

-- A hash that is full takes no new fields: names come from job types, of which there may be too many.
local function add_to(key)
  local is_full = redis.call('HLEN', key) >= MOST_FIELDS
  for n = 5, #ARGV, 2 do
    if not is_full or redis.call('HEXISTS', key, ARGV[n]) == 1 then
      redis.call('HINCRBY', key, ARGV[n], ARGV[n + 1])
    end
  end
end

for _, step in ipairs(cjson.decode(ARGV[4])) do
  local length, kept = unpack(step)
  local key = P .. ':fleet:statistics:' .. length .. ':' .. math.floor(seconds / length) * length
  add_to(key)
  redis.call('EXPIRE', key, kept + length)
end
add_to(P .. ':fleet:statistics:total')
return 1
