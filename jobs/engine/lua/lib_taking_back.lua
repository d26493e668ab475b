-- A job that its queue did not take was never accepted. Redis takes nothing back by itself: this does, so that nothing of the
-- job is left, and it can be sent again. A ticket for a rate window is dropped by the sweep.
local function take_back(P, id)
  local key = P .. ':job:' .. id
  local queue, filed, gates, unique = unpack(redis.call('HMGET', key, 'origin', 'filed', 'gates', 'unique_key'))
  redis.pcall('LREM', P .. ':queue:' .. (queue or ''), -1, id)
  redis.pcall('LREM', P .. ':fleet:waiting:' .. (queue or '') .. ':' .. (filed or ''), -1, id)
  for gate in (gates or ''):gmatch('(%S+)=%d+') do
    redis.pcall('ZREM', P .. ':fleet:admitted:' .. (queue or '') .. ':' .. gate, id)
  end
  if unique and redis.pcall('GET', P .. ':fleet:unique:' .. unique) == id then
    redis.call('DEL', P .. ':fleet:unique:' .. unique)
  end
  redis.call('UNLINK', key)
end
