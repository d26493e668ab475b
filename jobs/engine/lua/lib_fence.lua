-- Part of settle.lua: whether a run is still its worker's.
-- What batches hold is read once a call and written once.
local batches, UNTOLD, NOT_HELD = {}, ('u'):byte(), ('-'):byte()
local function batch_held(request)
  local batch = batches[request]
  if batch == nil then
    local held = redis.call('HGET', batch_key(P, request), 'held')
    batch = held and {held:byte(1, -1)} or {}
    batches[request] = batch
  end
  return batch
end

-- Returns whether the run's batch still held it; then `run.untold` says whether its start is still to be told.
local function leave_batch(run)
  local request, place = place_of(run.execution)
  local batch = batch_held(request)
  local letter = batch[place] or NOT_HELD
  if letter == NOT_HELD then
    return false
  end
  batch[place], run.untold = NOT_HELD, letter == UNTOLD
  return true
end

local function write_batches()
  for request, batch in pairs(batches) do
    if #batch > 0 then
      write_batch(P, request, string.char(unpack(batch)))
    end
  end
end

local leased = {}
local function look_up_leases(runs)
  local members = {}
  for _, run in ipairs(runs) do
    members[#members + 1] = run and not run.in_batch and run.id .. ':' .. run.execution or nil
  end
  local scores = #members > 0 and redis.call('ZMSCORE', leases, unpack(members)) or {}
  for n, member in ipairs(members) do
    leased[member] = scores[n]
  end
end

-- Whether its batch holds the run, or a lease of its own: one that its batch let go may have got one meanwhile.
local function takes_leave(run)
  if run.in_batch and leave_batch(run) then
    return true
  end
  local member = run.id .. ':' .. run.execution
  local held = leased[member] or run.in_batch and redis.call('ZSCORE', leases, member)
  run.member, leased[member] = member, nil
  return held
end

