-- What a job has done once. An earlier job of the same id had a nonce of its own: what that one did is none of this one's.
local function steps_of(P, id, nonce)
  local steps = P .. ':fleet:steps:' .. id
  if (redis.call('HGET', steps, 'of') or '') ~= nonce then
    redis.call('UNLINK', steps)
    if nonce ~= '' then
      redis.call('HSET', steps, 'of', nonce)
      redis.call('EXPIRE', steps, 3600)
    end
  end
  return steps
end
