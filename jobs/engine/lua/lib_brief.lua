-- Part of lease.lua: which ids are such, and what is told of a run in a batch of which there is little to say.
-- SOON are the fields that must be known of every job (see lib_fields).
local SOON = {'data', 'type', 'tenant', 'timeout', 'deadline', 'attempts', 'gates', 'correlation_id', 'unique_key', 'enqueued_at',
  'status', 'lane', 'ledger', 'final', 'filed'}

-- 32 digits, as most ids are, are soon told from anything else: what is read as a number may have only spaces or a sign
-- around it, or end before a zero byte.
local function is_id(id)
  local first, last = id:byte(1), id:byte(-1)
  local is_number = #id == 32 and first >= 48 and last >= 48 and tonumber(id, 16)
  return is_number and not id:find('\0', 1, true) or id:find('^[%w_-]+$')
end

-- A first run of which there is little to say is told as one text: its place (four digits) and id, the number of its head,
-- and its correlation id, each with a line feed behind it, 27 characters of `enqueued_at`, and the data. Heads (type,
-- tenant, timeout, queue, lane) are told once. A text costs a tenth of what a table of 20 fields does.
local function is_brief(fields)
  local correlation, enqueued = fields[8], fields[10]
  return not (fields[5] or fields[7] or fields[9] or fields[13]) and enqueued and #enqueued == 27
    and not (correlation and correlation:find('\n', 1, true))
end

local function brief(place, id, number, fields)
  return place .. id .. '\n' .. number .. (fields[8] or '') .. '\n' .. fields[10] .. fields[1]
end
