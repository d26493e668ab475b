#!lua flags=allow-oom
-- Take follow-ups that are due, for so many seconds: whoever takes them does them and removes them, or dies and they are
-- due again. ARGV: prefix, how many at most, seconds, then those that the caller has in hand and needs for longer.
-- Returns the members that were taken.
local key, seconds = ARGV[1] .. ':fleet:follow-ups', tonumber(ARGV[3])
local now = tonumber(redis.call('TIME')[1])
for at = 4, #ARGV do
  redis.call('ZADD', key, 'XX', now + seconds, ARGV[at])
end
local due = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, ARGV[2])
for _, member in ipairs(due) do
  redis.call('ZADD', key, now + seconds, member)
end
return due
