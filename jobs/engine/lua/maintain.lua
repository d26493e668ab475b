#!lua flags=allow-oom
-- Housekeeping that RQ's own workers do between jobs: forget what has expired. ARGV: prefix. Returns how many entries went.
local P, gone, QUARANTINE_KEPT, LOOK_AGAIN = ARGV[1], 0, 30 * 86400, 86400
local now = redis.call('TIME')[1]
for _, key in ipairs(redis.call('SMEMBERS', P .. ':queues')) do
  local queue = key:sub(#P + #':queue:' + 1)
  for _, kind in ipairs({'finished', 'failed'}) do
    gone = gone + redis.call('ZREMRANGEBYSCORE', P .. ':' .. kind .. ':' .. queue, 1, '(' .. now)
  end
  -- RQ's own cancel enters a job as if it expired at once, and keeps it: it stays here for as long as its hash lives.
  local canceled = P .. ':canceled:' .. queue
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', canceled, '-inf', '(' .. now, 'LIMIT', 0, 1000)) do
    if redis.call('EXISTS', P .. ':job:' .. id) == 1 then
      redis.call('ZADD', canceled, now + LOOK_AGAIN, id)
    else
      gone = gone + redis.call('ZREM', canceled, id)
    end
  end
end
local quarantine = P .. ':fleet:quarantine'
for _, id in ipairs(redis.call('ZRANGEBYSCORE', quarantine, '-inf', now - QUARANTINE_KEPT, 'LIMIT', 0, 1000)) do
  gone = gone + redis.call('ZREM', quarantine, id)
  redis.call('HDEL', quarantine .. ':reasons', id)
end
return gone
