#!lua flags=allow-oom
-- Housekeeping that RQ's own workers do between jobs: forget what has expired. ARGV: prefix. Returns how many entries went.
local P, gone, QUARANTINE_KEPT = ARGV[1], 0, 30 * 86400
local now = redis.call('TIME')[1]
for _, key in ipairs(redis.call('SMEMBERS', P .. ':queues')) do
  local queue = key:sub(#P + #':queue:' + 1)
  for _, kind in ipairs({'finished', 'failed', 'canceled'}) do
    gone = gone + redis.call('ZREMRANGEBYSCORE', P .. ':' .. kind .. ':' .. queue, 1, '(' .. now)
  end
end
local quarantine = P .. ':fleet:quarantine'
for _, id in ipairs(redis.call('ZRANGEBYSCORE', quarantine, '-inf', now - QUARANTINE_KEPT, 'LIMIT', 0, 1000)) do
  gone = gone + redis.call('ZREM', quarantine, id)
  redis.call('HDEL', quarantine .. ':reasons', id)
end
return gone
