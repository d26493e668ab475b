-- Whose lease stands. A run has a lease of its own, or shares one: tiny runs that a request was given together are a batch,
-- with one lease (in `fleet:batches`) and a hash whose `held` has a letter for each run, in the order of their
-- executions: u (held, its start is untold), t (held, its start is told) or - (not held by the batch, or not any more).

-- The request that an execution was given to, and its place (from 1) among those that it was given.
local function place_of(execution)
  return execution:sub(1, -5), (tonumber(execution:sub(-4), 16) or -1) + 1
end

-- A place in the four digits that an execution ends with.
local DIGITS = {[0] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'}
local function as_place(place)
  if place > 255 then
    return string.format('%04x', place)
  end
  local last = place % 16
  return '00' .. DIGITS[(place - last) / 16] .. DIGITS[last]
end

local function batch_key(P, request)
  return P .. ':fleet:batch:' .. request
end

-- The run's letter if its batch holds it, and what else the batch holds.
local function letter_of(P, id, execution)
  local request, place = place_of(execution)
  local held, runs = unpack(redis.call('HMGET', batch_key(P, request), 'held', 'runs'))
  local letter = held and held:sub(place, place):match('[ut]')
  if letter and (runs or ''):find('["' .. id .. '","' .. execution .. '"', 1, true) then
    return letter, held
  end
end

local function is_leased(P, id, execution)
  return redis.call('ZSCORE', P .. ':fleet:leases', id .. ':' .. execution) or letter_of(P, id, execution)
end

-- Write what a batch holds; one that holds nothing goes.
local function write_batch(P, request, held)
  if held:find('[ut]') then
    redis.call('HSET', batch_key(P, request), 'held', held)
  else
    redis.call('DEL', batch_key(P, request))
    redis.call('ZREM', P .. ':fleet:batches', request)
  end
end

-- Change the letter of a run that its batch holds.
local function mark_in_batch(P, id, execution, letter)
  local request, place = place_of(execution)
  local was, held = letter_of(P, id, execution)
  if was then
    write_batch(P, request, held:sub(1, place - 1) .. letter .. held:sub(place + 1))
  end
end
