-- Look through jobs where they lie, from a place on: at so many entries and no more. Changes nothing.
-- ARGV: prefix, kind (`list`: the newest at the end, `zset`: the highest score first, `zset_up`: the lowest first, `ids`), key, mark
--       and id of the entry to begin with, or two '', what is looked for (JSON: statuses, aside, durable, type, tenant, queue,
--       lane, errors, since, until, latest, value, payload), how many to find, at how many to look; then, of kind `ids`, the ids.
--       `value` is a part of the signed data of what is wanted, `payload` says that the data are wanted.
-- Returns {mark and id of the entry to go on with, or two '' at the end, entries looked at, found}, each {id, mark, status, latest
-- time, settled execution, data}. A mark is the distance from a list's end, or a score.
local P, kind, key, mark, first = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local wanted, most, look_at = cjson.decode(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local NEAR, FAR, FARTHEST, MOST_BYTES, IS_TEXT = 200, 100000, 1000000000, 1048576, ('['):byte()
local statuses = {}
for _, status in ipairs(wanted.statuses) do
  statuses[status] = true
end

-- How far from a list's end an entry lies now that was at a certain distance: a few were added or taken since.
local function distance_of(id, distance)
  local nearest = math.max(distance - NEAR, 0)
  local near = redis.call('LRANGE', key, -(distance + NEAR + 1), -(nearest + 1))
  for n = #near, 1, -1 do
    if near[n] == id then
      return nearest + #near - n
    end
  end
  local place = redis.call('LPOS', key, id, 'RANK', -1, 'MAXLEN', distance + FAR)
  return place and redis.call('LLEN', key) - 1 - place or distance
end

-- The entries as {id, mark} in turn, one more than are looked at.
local function read_list()
  local start = first ~= '' and distance_of(first, math.min(math.floor(tonumber(mark) or 0), FARTHEST)) or 0
  local ids = redis.call('LRANGE', key, -(start + look_at + 1), -(start + 1))
  local entries = {}
  for n = #ids, 1, -1 do
    entries[#entries + 1] = ids[n]
    entries[#entries + 1] = string.format('%d', start + #ids - n)
  end
  return entries
end

local function read_zset(up)
  local start = 0
  if first ~= '' and mark ~= '' then
    start = redis.call(up and 'ZRANK' or 'ZREVRANK', key, first)
      or redis.call('ZCOUNT', key, up and '-inf' or '(' .. mark, up and '(' .. mark or '+inf')
  end
  return redis.call(up and 'ZRANGE' or 'ZREVRANGE', key, start, start + look_at, 'WITHSCORES')
end

local function read_ids()
  local entries = {}
  for n = 9, #ARGV do
    entries[#entries + 1], entries[#entries + 2] = ARGV[n], '0'
  end
  return entries
end

local READ, tests = {'status', 'quarantined', 'ledger'}, {}
local function compare(fields, test)
  local n = #READ
  for _, field in ipairs(fields) do
    READ[#READ + 1] = field
  end
  tests[#tests + 1] = function(head)
    return test(head[n + 1] or '', head[n + 2] or '', head[n + 3] or '')
  end
end

if wanted.type then
  compare({'type', 'description'}, function(name, description)
    return (name ~= '' and name or description) == wanted.type
  end)
end
if wanted.tenant then
  compare({'tenant'}, function(tenant) return tenant == wanted.tenant end)
end
if wanted.queue then
  compare({'origin'}, function(queue) return queue == wanted.queue end)
end
if wanted.lane then
  compare({'lane'}, function(lane) return (lane == '' and 'default' or lane) == wanted.lane end)
end
if wanted.since or wanted['until'] then
  compare({'created_at'}, function(at)
    return at ~= '' and at >= (wanted.since or '') and (not wanted['until'] or at < wanted['until'])
  end)
end

-- What users see of an error, without the marks that JSON puts in.
local function shown_of(error)
  local ok, about = pcall(cjson.decode, error)
  return ok and type(about) == 'table' and tostring(about.type) .. ': ' .. tostring(about.message) or error
end

for _, words in ipairs(wanted.errors or {}) do
  compare({'error', 'error_text', 'quarantined'}, function(error, text, reason)
    if error == '' and text == '' and reason == '' then
      return false
    end
    return (shown_of(error) .. '\n' .. text .. '\n' .. reason):lower():find(words, 1, true) ~= nil
  end)
end

local function latest_of(id)
  local times = redis.call('HMGET', P .. ':job:' .. id, 'ended_at', 'started_at', 'enqueued_at', 'created_at', 'settled')
  for n = 1, 4 do
    if (times[n] or '') ~= '' then
      return times[n], times[5] or ''
    end
  end
  return '', times[5] or ''
end

local function passes(head)
  for _, test in ipairs(tests) do
    if not test(head) then
      return false
    end
  end
  return true
end

-- Whether it is one: what is set aside is found in quarantine alone, and durable jobs in the ledger while that answers.
local function is_wanted(head)
  if wanted.aside then
    return not head[1] or head[2]
  end
  return not head[2] and statuses[head[1] or ''] and (wanted.durable or not head[3])
end

-- The row of what is found; nil when a closer look says that it is not.
local function row_of(id, place, status)
  local latest, settled = '', ''
  local is_hash = redis.call('TYPE', P .. ':job:' .. id).ok == 'hash'
  if is_hash then
    latest, settled = latest_of(id)
  end
  if wanted.latest and latest > wanted.latest then
    return nil
  end
  local data = ''
  if wanted.payload then
    data = is_hash and redis.call('HGET', P .. ':job:' .. id, 'data') or ''
    if data:byte() == IS_TEXT and wanted.value and not data:find(wanted.value, 1, true) then
      return nil
    end
  end
  return {id, place, status or '', latest, settled, data}
end

local entries
if kind == 'list' then
  entries = read_list()
elseif kind == 'ids' then
  entries = read_ids()
else
  entries = read_zset(kind == 'zset_up')
end

local found, looked, bytes = {}, 0, 0
for n = 1, #entries, 2 do
  local id, place = entries[n], entries[n + 1]
  if looked == look_at or #found == most or bytes > MOST_BYTES then
    return {place, id, looked, found}
  end
  looked = looked + 1
  local head = redis.pcall('HMGET', P .. ':job:' .. id, unpack(READ))
  head = head.err and {} or head
  if is_wanted(head) and passes(head) then
    local row = row_of(id, place, head[1])
    found[#found + 1] = row
    bytes = bytes + (row and #row[6] or 0)
  end
end
return {'', '', looked, found}
