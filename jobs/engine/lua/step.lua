-- One step of a job, done once across its runs. No allow-oom: a full Redis refuses to begin one.
-- ARGV: prefix, id, execution ('' is not checked against a lease), the job's nonce or '', seconds to keep, what to do, the
-- step's name, most steps, who begins it, or its result (JSON).
-- What to do is begin, end (with the result) or drop (it did not happen). A field `:NAME` of the hash holds `begun BY`
-- or `done RESULT`.
-- Returns {new}, {again, who began it} when who began it never ended it, {done, result}, {full}, {ok}, {missing} for a
-- job that is gone, or {stale} for a run whose lease is gone.
--include lib_leases
--include lib_steps
local P, id, execution, keep, act, most = ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6], tonumber(ARGV[8])
local job, field, said = P .. ':job:' .. id, ':' .. ARGV[7], ARGV[9]
if execution ~= '' and not is_leased(P, id, execution) then
  return {'stale'}
end
if redis.call('EXISTS', job) == 0 then
  return {'missing'}
end
local steps = steps_of(P, id, ARGV[4])

local function write(value)
  redis.call('HSET', steps, field, value)
  redis.call('EXPIRE', steps, keep)
  redis.call('HSET', job, 'checkpoint', '1')
end

local known = redis.call('HGET', steps, field)
if act == 'begin' then
  if known and known:sub(1, 5) == 'done ' then
    redis.call('HSET', job, 'checkpoint', '1')
    return {'done', known:sub(6)}
  end
  if not known and redis.call('HLEN', steps) >= most then
    return {'full'}
  end
  local before = known and known:sub(7)
  write('begun ' .. said)
  if before and before ~= said then
    return {'again', before}
  end
  return {'new'}
end
if act == 'end' then
  write('done ' .. said)
elseif known and known:sub(1, 6) == 'begun ' then
  redis.call('HDEL', steps, field)
end
return {'ok'}
