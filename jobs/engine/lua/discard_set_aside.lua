#!lua flags=allow-oom
-- Throw away what was taken out of a schedule, with its job where that is none or never ran; one of the same id that was
-- queued since stays. Safe to repeat.
-- ARGV: prefix, id. Returns 1 if it was there.
local P, id = ARGV[1], ARGV[2]
if redis.call('ZREM', P .. ':fleet:scheduler:broken', id) == 0 then
  return 0
end
redis.call('HDEL', P .. ':fleet:scheduler:broken:reasons', id)
local key = P .. ':job:' .. id
local status = redis.pcall('HGET', key, 'status')
if type(status) ~= 'string' or status == 'scheduled' then
  redis.call('UNLINK', key)
end
return 1
