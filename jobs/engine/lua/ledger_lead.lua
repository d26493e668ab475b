#!lua flags=allow-oom
-- Take, keep or give up the lead among those who keep the ledger, and name the life of this Redis.
-- ARGV: prefix, name, lease (ms; 0 gives the lead up), 1 to take a free lead, a new name for this life.
-- Returns ours, taken (by another) or free, the name of this life, and how long (ms) the lead is taken for.
--include lib_strange
local P, name, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local lead, epoch = P .. ':fleet:ledger-lead', P .. ':fleet:ledger-epoch'
for _, key in ipairs({lead, epoch}) do
  if type(redis.pcall('GET', key)) == 'table' then
    put_strange_aside(key)
  end
end
local holder = redis.call('GET', lead)
if lease == 0 then
  if holder == name then
    redis.call('DEL', lead)
  end
  return {'free', '', 0}
end
redis.call('SET', epoch, ARGV[5], 'NX')
local now = redis.call('GET', epoch)
if holder == name or (not holder and ARGV[4] == '1') then
  redis.call('SET', lead, name, 'PX', lease)
  return {'ours', now, lease}
end
return {holder and 'taken' or 'free', now, math.max(0, redis.call('PTTL', lead))}
