#!lua flags=allow-oom
-- The ledger knows that a durable workflow has ended: from now on it is kept as long as it says. Safe to repeat.
-- ARGV: prefix, id, the round that has ended. Does nothing to one that runs again.
local key = ARGV[1] .. ':fleet:workflow:' .. ARGV[2]
local status, round, kept = unpack(redis.call('HMGET', key, 'status', 'round', 'kept'))
if round ~= ARGV[3] or status == 'running' or status == 'compensating' then
  return 0
end
for _, part in ipairs({'', ':plan', ':state', ':results', ':data'}) do
  redis.call('EXPIRE', key .. part, kept)
end
return 1
