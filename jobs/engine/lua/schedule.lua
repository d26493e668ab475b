-- Move a periodic entry to its next time and make the runs that were due, both or neither: runs that can't be put on their
-- queue leave nothing behind, and the entry stays due.
-- ARGV: what is written with them (JSON: entry, runs (ids and the epoch seconds for which they are due, in turn), keep (how
--       many are remembered); where the entry is to be moved next and reached as epoch seconds in text, skipped, missed, and
--       topic and event of what is told of the skipped ones), prefix; then, unless there is none to be sent, what follows
--       it in enqueue.lua.
-- Returns what enqueue.lua does.
--include lib_events
--include lib_taking_back
local about, P = cjson.decode(ARGV[1]), ARGV[2]

local function enqueue()
  local ARGV = {unpack(ARGV, 2)}
--include enqueue
end

local function new_ids()
  local ids, n_heads = {}, tonumber(ARGV[3])
  for at = 4 + 3 * n_heads, #ARGV, 4 do
    local id = ARGV[at + 1]
    if redis.call('EXISTS', P .. ':job:' .. id) == 0 then
      ids[#ids + 1] = id
    end
  end
  return ids
end

-- What somebody has put in the place of our notes is removed elsewhere, and stops no run.
local function note()
  local notes, runs = P .. ':fleet:schedule:' .. about.entry, P .. ':fleet:schedule-runs:' .. about.entry
  for n = 1, #about.runs, 2 do
    redis.pcall('ZADD', runs, about.runs[n + 1], about.runs[n])
  end
  redis.pcall('ZREMRANGEBYRANK', runs, 0, -about.keep - 1)
  if not about.next then
    return
  end
  redis.pcall('HSET', notes, 'reached', about.reached)
  redis.pcall('HDEL', notes, 'starting')
  for _, word in ipairs({'skipped', 'missed'}) do
    if about[word] > 0 then
      redis.pcall('HINCRBY', notes, word, about[word])
    end
  end
  if about.skipped > 0 then
    pcall(emit, P, about.topic, 'schedule:skipped', about.event)
  end
end

local refused = {}
if #ARGV > 2 then
  local ids = new_ids()
  refused = enqueue()
  if refused.err then
    for _, id in ipairs(ids) do
      take_back(P, id)
    end
    return refused
  end
end
if about.next then
  redis.call('ZADD', P .. ':scheduler:scheduled_jobs', about.next, about.entry)
end
note()
return refused
