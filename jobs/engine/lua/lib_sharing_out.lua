-- Part of lease.lua: which queue each job comes from, what goes back, and who runs empty for a job that runs alone.

-- Pauses, open breakers and jobs put aside: mostly there is none of them, which one call says.
local function look_for_the_special()
  local keys = {P .. ':suspended', P .. ':fleet:paused', P .. ':fleet:breakers'}
  for _, queue in ipairs(queues) do
    keys[#keys + 1] = P .. ':fleet:overflowed:' .. queue
  end
  nothing_special = redis.call('EXISTS', unpack(keys)) == 0
  if nothing_special then
    return {}, {}, 0
  end
  local blocked, paused_lanes = what_is_paused(P, worker, queues, free)
  return blocked, paused_lanes, heed_breakers(P, free, paused_lanes, SLOT, ms)
end

local function readers_of(blocked)
  local readers = {}
  for n, queue in ipairs(queues) do
    readers[n] = not blocked[queue] and reader_of(queue) or nil
  end
  return readers
end

-- A worker that runs nothing begins with a job that has to run alone: for that it, or another, may have run empty.
local function begin_with_alone(readers)
  for n = 1, idle and room > 0 and #queues or 0 do
    local source = readers[n] and readers[n].sources[1]
    if source and source.filed == ALONE and redis.call('EXISTS', source.key) == 1 and take_from(readers[n]) then
      return
    end
  end
end

local function hand_out(readers)
  local picked, taken = 0, true
  while taken and room > 0 and scanned < SCAN_LIMIT and not alone do
    picked = picked + 1
    local preferred = (picks:byte(picked) or 49) - 48
    taken = readers[preferred] and take_from(readers[preferred])
    for n = 1, #queues do
      taken = taken or (n ~= preferred and readers[n] and take_from(readers[n]))
    end
  end
end

-- What woke the worker and does not fit goes back for others.
local function empty_inboxes()
  for _, queue in ipairs(queues) do
    local inbox = P .. ':fleet:inbox:' .. worker .. ':' .. queue
    while type(redis.pcall('LMOVE', inbox, P .. ':queue:' .. queue, 'RIGHT', 'LEFT')) == 'string' do end
  end
end

-- One worker at a time runs empty for the jobs that have to run alone.
local function drains()
  local claim = P .. ':fleet:alone-claim'
  if not must_drain then
    return 0
  end
  redis.call('SET', claim, worker, 'NX', 'PX', CLAIM_MS)
  if redis.call('GET', claim) ~= worker then
    return 0
  end
  redis.call('PEXPIRE', claim, CLAIM_MS)
  return 1
end

local function names_of(readers)
  local blocked = {}
  for n, queue in ipairs(queues) do
    blocked[#blocked + 1] = not readers[n] and queue or nil
  end
  return blocked
end
