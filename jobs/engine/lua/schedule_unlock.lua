#!lua flags=allow-oom
-- Sign a scheduler off and release the locks that are still its own.
-- ARGV: prefix, token, queue names... Returns how many locks were released.
local P, token, released = ARGV[1], ARGV[2], 0

local function release(lock)
  if redis.call('GET', lock) == token then
    released = released + redis.call('DEL', lock)
  end
end

redis.call('ZREM', P .. ':fleet:schedulers', token)
release(P .. ':scheduler_lock')
for at = 3, #ARGV do
  release(P .. ':scheduler-lock:' .. ARGV[at])
end
return released
