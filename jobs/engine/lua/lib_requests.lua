-- Part of lease.lua: what a request was given is kept, so that it gets the same again when it is repeated.
-- Those of tiny types are a batch from then on.
local function remember()
  if #jobs == 0 then
    if idle and generation ~= '' then
      remember_idleness()
    end
    return
  end
  local runs = '[' .. table.concat(memory, ',') .. ']'
  redis.call('SET', memory_key, runs, 'EX', 120)
  if has_batch then
    redis.call('HSET', batch_key(P, request), 'held', ('-'):rep(places_taken) .. table.concat(letters), 'runs', runs)
    redis.call('ZADD', batches, lease_until, request)
  end
end

-- What this request was given before, as far as it is still this worker's. If that is nothing any more, what it is given
-- now has executions that nobody had before.
local function remembered()
  if last_request ~= request then
    return false
  end
  local last = cjson.decode(last_reply)
  for n = 2, #last do
    local id, execution, queue, lane = unpack(last[n])
    local fields = read_fields(P .. ':job:' .. id)
    local ours = fields[1] and fields[11] == 'started' and fields.execution == execution
    local letter = ours and letter_of(P, id, execution)
    if letter or ours and redis.call('ZSCORE', leases, id .. ':' .. execution) then
      alone = alone or is_suspect(fields)
      redis.call('ZADD', letter and batches or leases, lease_until, letter and request or id .. ':' .. execution)
      jobs[#jobs + 1] = told(P .. ':job:' .. id, fields, id, execution, queue, lane, letter)
    end
  end
  places_taken = #last > 1 and select(2, place_of(last[#last][2])) or 0
  return #jobs > 0
end
