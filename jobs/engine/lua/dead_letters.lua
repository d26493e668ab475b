-- Look through dead letters, or what is in quarantine, from a place on: at so many entries and no more. Entries whose job
-- is no letter any more are dropped on the way.
-- ARGV: prefix, source (`all`, `of:FINGERPRINT`, `type:TYPE` or `quarantine`), 1 for the oldest first or '', place from which to
--       go on (time of death, id) or two '', since and until (times of death) or '', what is looked for (JSON: type, tenant,
--       lane, queue, fingerprint, text, spent), how many to find, at how many to look, of how many to tell all or '' for
--       each: of the others id and time are told.
-- Returns {1 when there is no more, time and id of the last entry that was looked at, found}, each {id, time, fingerprint,
--          reason, fields in FIELDS' order}.
--include lib_dead_letters
local P, source, oldest_first = ARGV[1], ARGV[2], ARGV[3] == '1'
local since, before, wanted = tonumber(ARGV[6]), ARGV[7], cjson.decode(ARGV[8])
local most, look_at, told = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local FIELDS = {'status', 'type', 'tenant', 'lane', 'origin', 'error', 'error_text', 'spent', 'attempts', 'max_retries',
  'ended_at', 'correlation_id', 'settled', 'retried', 'retried_by', 'created_at', 'description', 'quarantined'}
-- What is read of each, and compared: only of what fits the other fields are read.
local EQUAL = {tenant = 'tenant', lane = 'lane', queue = 'origin'}
local aside = source == 'quarantine'
local index = P .. ':fleet:dead-letters'
if aside then
  index = P .. ':fleet:quarantine'
elseif source:find('^of:') then
  index = P .. ':fleet:dead-letters:of:' .. source:sub(4)
elseif source:find('^type:') then
  index = P .. ':fleet:dead-letters:type:' .. source:sub(6)
end

-- The rank at which to begin; after the last one seen, or where it was if it is gone.
local function first_rank()
  if ARGV[5] ~= '' then
    local rank = redis.call(oldest_first and 'ZRANK' or 'ZREVRANK', index, ARGV[5])
    if rank then
      return rank + 1
    end
    return redis.call('ZCOUNT', index, oldest_first and '-inf' or '(' .. ARGV[4], oldest_first and '(' .. ARGV[4] or '+inf')
  elseif oldest_first and since then
    return redis.call('ZCOUNT', index, '-inf', '(' .. ARGV[6])
  elseif not oldest_first and before ~= '' then
    return redis.call('ZCOUNT', index, '(' .. before, '+inf')
  end
  return 0
end

local function is_outside(time)
  if oldest_first then
    return before ~= '' and time > tonumber(before)
  end
  return since and time < since
end

local compared, tests = {'status', 'quarantined'}, {}
for name, field in pairs(EQUAL) do
  if wanted[name] then
    compared[#compared + 1] = field
    local n = #compared
    tests[#tests + 1] = function(head) return (head[n] or '') == wanted[name] end
  end
end
if wanted.type then
  compared[#compared + 1], compared[#compared + 2] = 'type', 'description'
  local n = #compared
  tests[#tests + 1] = function(head)
    return ((head[n - 1] or '') ~= '' and head[n - 1] or head[n]) == wanted.type
  end
end
if wanted.spent ~= nil then
  compared[#compared + 1] = 'spent'
  local n = #compared
  tests[#tests + 1] = function(head) return (head[n] == '1') == wanted.spent end
end
if wanted.text then
  compared[#compared + 1], compared[#compared + 2] = 'error_text', 'error'
  local n = #compared
  tests[#tests + 1] = function(head)
    local text = (head[n - 1] or '') .. '\n' .. (head[n] or '') .. '\n' .. (head[2] or '')
    return text:lower():find(wanted.text, 1, true) ~= nil
  end
end

local function fingerprint_of(id)
  return (redis.call('HGET', P .. ':fleet:dead-letters:known', id) or ''):match('^%S*')
end

local function matches(head, id)
  for _, test in ipairs(tests) do
    if not test(head) then
      return false
    end
  end
  return not wanted.fingerprint or fingerprint_of(id) == wanted.fingerprint
end

local function row_of(id, time)
  local fields = redis.pcall('HMGET', P .. ':job:' .. id, unpack(FIELDS))
  for k = 1, #FIELDS do
    fields[k] = not fields.err and fields[k] or ''
  end
  local reason = aside and redis.call('HGET', P .. ':fleet:quarantine:reasons', id) or ''
  return {id, time, fingerprint_of(id), reason, fields}
end

local function forget(id)
  exhume(P, id)
  redis.call('ZREM', index, id)
end

local start, found, stale = first_rank(), {}, {}
local entries = redis.call(oldest_first and 'ZRANGE' or 'ZREVRANGE', index, start, start + look_at - 1, 'WITHSCORES')
local last_time, last_id, is_end = ARGV[4], ARGV[5], #entries < 2 * look_at
for n = 1, #entries, 2 do
  local id, time = entries[n], entries[n + 1]
  if is_outside(tonumber(time)) then
    is_end = true
    break
  end
  local head = redis.pcall('HMGET', P .. ':job:' .. id, unpack(compared))
  head = head.err and {} or head
  local letter
  if aside then
    letter = is_set_aside(head[1], head[2]) or nil
  else
    letter = is_letter(head[1], head[2])
  end
  if letter == false then
    stale[#stale + 1] = id
  elseif letter and matches(head, id) then
    if #found == most then
      is_end = false
      break
    end
    found[#found + 1] = (not told or #found < told) and row_of(id, time) or {id, time}
  end
  last_time, last_id = time, id
end
for _, id in ipairs(stale) do
  forget(id)
end
return {is_end and 1 or 0, last_time, last_id, found}
